//! Questions to one DNS server, and records between their spellings.

use crate::{Patience, error::DnsError};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType},
};
use ostler_core::ports::{DnsRecord, RecordKind};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// Datagrams that may get lost before a server counts as silent.
const TRIES: u32 = 3;
/// Longest answer without EDNS (RFC 1035, section 4.2.1); longer ones come by TCP.
const DATAGRAM: usize = 512;

/// The name in the library's form.
pub fn name_of(text: &str) -> Result<Name, DnsError> {
    let bad = |_| DnsError::BadName { name: text.to_owned() };
    let mut name = Name::from_ascii(text).map_err(bad)?;
    name.set_fqdn(true);
    Ok(name)
}

/// What a server answers to a question, whatever that is.
pub async fn ask(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    recursion: bool,
    patience: Patience,
) -> Result<Message, DnsError> {
    let mut question = Message::new(random_id(), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = recursion;
    question.add_query(Query::query(name_of(name)?, kind));
    let silent = |said: String| DnsError::Silent { server: server.to_string(), name: name.to_owned(), said };
    let bytes = question.to_vec().map_err(|_| DnsError::BadName { name: name.to_owned() })?;
    let mut said = String::new();
    for _ in 0..TRIES {
        match by_datagram(server, &bytes, patience.query).await {
            Ok(answer) if answer.metadata.truncation => {
                let answer =
                    by_stream(server, &bytes, patience.query).await.map_err(|error| silent(error.to_string()))?;
                return Message::from_vec(&answer).map_err(|error| silent(error.to_string()));
            }
            Ok(answer) => return Ok(answer),
            Err(error) => said = error.to_string(),
        }
    }
    Err(silent(said))
}

async fn by_datagram(server: SocketAddr, question: &[u8], limit: Duration) -> io::Result<Message> {
    let here: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((here, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let answer = async {
        let mut buffer = [0; DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // Others may send here, too; what answers has the question's number.
            match Message::from_vec(&buffer[..length]) {
                Ok(answer) if buffer[..2] == question[..2] => return Ok(answer),
                _ => {}
            }
        }
    };
    timeout(limit, answer).await.unwrap_or_else(|_| Err(late(limit)))
}

/// One message by TCP, and the one that answers it (RFC 1035, section 4.2.2).
pub async fn by_stream(server: SocketAddr, message: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(message.len()).map_err(|_| io::Error::other("the message is too long"))?;
        stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(late(limit)))
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {} s", limit.as_secs_f32()))
}

/// A number that nobody guesses.
fn random_id() -> u16 {
    Message::query().metadata.id
}

/// The type of a kind.
pub fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Caa => RecordType::CAA,
    }
}

/// All kinds.
pub const KINDS: [RecordKind; 5] =
    [RecordKind::A, RecordKind::Aaaa, RecordKind::Cname, RecordKind::Txt, RecordKind::Caa];

/// The kind of a word.
pub fn kind_of(text: &str) -> Option<RecordKind> {
    KINDS.into_iter().find(|kind| kind.to_string() == text)
}

/// The records of a kind in an answer; one behind an alias has its own name.
pub fn records(answer: &[Record], kind: RecordKind) -> Vec<DnsRecord> {
    answer.iter().filter_map(|record| read(record).filter(|read| read.kind == kind)).collect()
}

fn read(record: &Record) -> Option<DnsRecord> {
    let (kind, value) = match &record.data {
        RData::A(address) => (RecordKind::A, address.0.to_string()),
        RData::AAAA(address) => (RecordKind::Aaaa, address.0.to_string()),
        RData::CNAME(name) => (RecordKind::Cname, whole(&name.0)),
        RData::TXT(text) => {
            let bytes: Vec<u8> = text.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            (RecordKind::Txt, String::from_utf8_lossy(&bytes).into_owned())
        }
        RData::CAA(caa) => {
            let value = String::from_utf8_lossy(&caa.value);
            (RecordKind::Caa, format!("{} {} \"{value}\"", caa.flags(), caa.tag))
        }
        _ => return None,
    };
    Some(DnsRecord { name: whole(&record.name), kind, value, ttl: record.ttl })
}

/// A name without the dot at its end.
fn whole(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// The record in the library's form.
pub fn write(record: &DnsRecord) -> Result<Record, DnsError> {
    let bad = || DnsError::BadValue { kind: record.kind, value: record.value.clone() };
    let data = match record.kind {
        // A string of a TXT record has at most 255 bytes (RFC 1035, section 3.3).
        RecordKind::Txt => {
            let parts = record.value.as_bytes().chunks(255).collect();
            RData::TXT(hickory_proto::rr::rdata::TXT::from_bytes(parts))
        }
        RecordKind::Cname => RData::CNAME(hickory_proto::rr::rdata::CNAME(name_of(&record.value)?)),
        other => RData::try_from_str(record_type(other), &record.value).map_err(|_| bad())?,
    };
    Ok(Record::from_rdata(name_of(&record.name)?, record.ttl, data))
}

/// A text as zone files have it: in quotation marks, in parts of at most 255 bytes.
pub fn quoted(text: &str) -> String {
    let mut parts = vec![String::new()];
    let mut length = 0;
    for c in text.chars() {
        if length + c.len_utf8() > 255 {
            parts.push(String::new());
            length = 0;
        }
        let part = parts.last_mut().expect("there is one");
        if matches!(c, '"' | '\\') {
            part.push('\\');
        }
        part.push(c);
        length += c.len_utf8();
    }
    parts.iter().map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(" ")
}

/// The text that such a spelling stands for; one without quotation marks is it already.
pub fn unquoted(text: &str) -> String {
    if !text.starts_with('"') {
        return text.to_owned();
    }
    let (mut out, mut within) = (String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => within = !within,
            '\\' => out.extend(chars.next()),
            c if within => out.push(c),
            _ => {}
        }
    }
    out
}

/// `0 issue "ca.example"`, however it was spelled.
pub fn caa(text: &str) -> String {
    let mut parts = text.splitn(3, char::is_whitespace);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(flags), Some(tag), Some(value)) => {
            format!("{flags} {} \"{}\"", tag.to_lowercase(), unquoted(value.trim()))
        }
        _ => text.to_owned(),
    }
}

/// An address in its usual spelling.
pub fn address(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_survives_its_quotation_marks() {
        for text in ["", "v=spf1 -all", r#"a "quoted" \ one"#, &"\u{e4}x".repeat(300)] {
            assert_eq!(unquoted(&quoted(text)), text);
        }
        assert_eq!(quoted(&"x".repeat(300)), format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
        assert_eq!(unquoted("bare"), "bare");
    }

    #[test]
    fn a_record_survives_the_wire() {
        for (kind, value) in [
            (RecordKind::A, "192.0.2.1"),
            (RecordKind::Aaaa, "2001:db8::1"),
            (RecordKind::Cname, "www.example.com"),
            (RecordKind::Txt, r#"a "quoted" \ one"#),
            (RecordKind::Caa, "0 issue \"ca.example\""),
        ] {
            let record = DnsRecord { name: "a.example.com".into(), kind, value: value.into(), ttl: 60 };
            assert_eq!(records(&[write(&record).unwrap()], kind), [record]);
        }
        let bad = DnsRecord { name: "a".into(), kind: RecordKind::A, value: "1.2.3".into(), ttl: 1 };
        assert_eq!(write(&bad).unwrap_err().to_string(), "`1.2.3` is no value of a record of type A");
    }
}
