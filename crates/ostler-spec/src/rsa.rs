//! RSA keys that sshd would refuse for their size: their owners would be locked out without a word.

use super::fault::Problem;
use base64::{Engine, engine::general_purpose::STANDARD};

/// `RequiredRSASize` of the SSH policy's algorithms, in bits.
const REQUIRED: usize = 2048;

/// What is said of the first key that is too small, if one is.
pub(super) fn refusal(keys: &[String]) -> Option<Problem> {
    let (key, bits) = keys.iter().find_map(|key| bits(key).filter(|bits| *bits < REQUIRED).map(|bits| (key, bits)))?;
    let comment = key.rsplit(char::is_whitespace).next().filter(|word| !word.starts_with("AAAA"));
    let name = comment.map(|comment| format!(" `{comment}`")).unwrap_or_default();
    let problem = Problem::new(format!("the RSA key{name} has {bits} bits, and sshd accepts none below {REQUIRED}"));
    Some(problem.hint("make a new pair with `ssh-keygen -t ed25519`, or say `ssh: { crypto: system }`"))
}

/// Size of the modulus; `None` for keys of another kind. RFC 4253, section 6.6: type, exponent, modulus, each with its length before it.
fn bits(key: &str) -> Option<usize> {
    let mut words = key.split_whitespace().skip_while(|word| *word != "ssh-rsa");
    let blob = STANDARD.decode(words.nth(1)?).ok()?;
    let mut rest = blob.as_slice();
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after;
        Some(part)
    };
    let (_, _, modulus) = (part()?, part()?, part()?);
    let modulus = &modulus[modulus.iter().position(|byte| *byte != 0)?..];
    Some(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by ssh-keygen.
    const OF_1024: &str = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQCyY9raaeql9CWT+dK2xEH+EbzyAxidtR5to6cjTIdo7ddgOzwPILCYmdjQlTNnTJTiJBa9xAd2lJ3/8q\
        /m9wSJUJl4z2xY1nH9/vq6IP7iS9Cbi6nhuEOXtPnEq0CIZqoA99C6AGmG+ru1Z/ULpX6swr24EgxoLhYdZvOxl3exvQ==";
    const OF_2048: &str = "AAAAB3NzaC1yc2EAAAADAQABAAABAQCqUBRz+4JU1y24tPhegRAgIzg6wd/Q9fZM3eXOoWUub27NnMgXvODfRpKgzoSSIvsBU4FzujYgwxbzDj\
        Fvl6VkuYD6xyVpsHP7DAQMSHtBTYNw7XHpVc6t4ZW9HP3z8pQeXHbxSkLaKf808QBZs8jBRrStkurrQXiOtsVv5oJX08Dlnbvhjer1OgT35mk5\
        g3iAMiJne7pMQQHFdLlvgdcusBSpf7qNeYVPnpt0L6/DbDJHezffbJeOEe9AkkpMBNhJ23Nl0J5LAq+XiW+XAnT61hvm+9odmg+GiyN3i5o8wq\
        moPHlijoC88tTj/uMLqim/va/JZ4k+K/qKDmrgzEn1";

    #[test]
    fn keys_below_the_size_are_named() {
        let key = |blob: &str, comment: &str| format!("restrict ssh-rsa {blob}{comment}");
        assert_eq!((bits(&key(OF_1024, "")), bits(&key(OF_2048, " me"))), (Some(1024), Some(2048)));
        assert_eq!(bits("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me"), None);
        assert!(refusal(&[key(OF_2048, "")]).is_none());
        assert!(refusal(&[key(OF_2048, ""), key(OF_1024, " me@old")]).is_some());
    }
}
