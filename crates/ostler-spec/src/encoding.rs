//! Text of a file's bytes. Editors of Windows write UTF-16, and byte order marks; both are taken, anything else is not guessed at.

use super::fault::{At, Fault, Problem};

/// The text of a file in UTF-8, or in UTF-16 where it begins with that one's byte order mark.
pub fn decode(bytes: &[u8]) -> Result<String, Fault> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        let whole = bytes.len().is_multiple_of(2);
        String::from_utf16(&units).ok().filter(|_| whole).ok_or_else(|| {
            Problem::new("the file begins like UTF-16, but is not").hint("save it as UTF-8").at(START, "")
        })
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

const START: At = At { line: 1, column: 1 };

fn utf8(bytes: &[u8]) -> Result<String, Fault> {
    let good = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => return Ok(text.to_owned()),
        Ok(text) => text.split('\0').next().unwrap_or_default(),
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let line = good.matches('\n').count() + 1;
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let problem = Problem::new(format!("the byte 0x{:02x} is not valid in UTF-8", bytes[good.len()]));
    Err(problem
        .hint("save the file as UTF-8; `iconv -f latin1 -t utf8 FILE` converts one from Latin-1")
        .at(At { line, column }, ""))
}
