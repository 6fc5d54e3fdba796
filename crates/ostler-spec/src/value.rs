//! Reading a [`Value`] by the type that stands there.
//!
//! Serde's own way for untagged enums keeps a copy and tries one variant after the other: seven times slower, and the store
//! reads the settings of every server for a listing.

use super::{SecretRef, Value};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt};

/// The only key of a mapping that is a secret's name and no mapping.
const SECRET_MARK: &str = "__ostler_secret_ref__";

impl Value {
    /// Adds every secret in it to `found`.
    pub fn secrets<'a>(&'a self, found: &mut Vec<&'a SecretRef>) {
        match self {
            Value::Secret(secret) => found.push(secret),
            Value::List(items) => items.iter().for_each(|item| item.secrets(found)),
            Value::Map(map) => map.values().for_each(|value| value.secrets(found)),
            _ => {}
        }
    }
}

/// So that it is told from a mapping when it is read again.
pub(super) fn serialize_secret<S: Serializer>(secret: &SecretRef, serializer: S) -> Result<S::Ok, S::Error> {
    BTreeMap::from([(SECRET_MARK, secret)]).serialize(serializer)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a text, a list or a mapping with texts as keys")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == SECRET_MARK && map.is_empty() {
                return entries.next_value().map(Value::Secret);
            }
            map.insert(key, entries.next_value()?);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::{SecretRef, Value};

    #[test]
    fn a_secret_comes_back_as_one_and_is_told_from_a_mapping() {
        let secret = Value::List(vec![Value::Secret(SecretRef::Env("TOKEN".into()))]);
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(text, r#"[{"__ostler_secret_ref__":{"env":"TOKEN"}}]"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), secret);
        assert!(matches!(serde_json::from_str(r#"{"env":"TOKEN"}"#).unwrap(), Value::Map(_)));
        // Where it is no secret's name, it is refused rather than guessed at.
        assert!(serde_json::from_str::<Value>(r#"{"__ostler_secret_ref__":1}"#).is_err());
    }

    #[test]
    fn every_kind_of_value_comes_back() {
        let text =
            r#"{"bool":true,"float":1.5,"int":-3,"list":[null,{"a":"b"}],"long":9223372036854775807,"text":"1"}"#;
        let Value::Map(map) = serde_json::from_str(text).unwrap() else { panic!("it is a mapping") };
        assert_eq!(map["int"], Value::Int(-3));
        assert_eq!(map["float"], Value::Float(1.5));
        assert_eq!(map["text"], Value::String("1".into()));
        assert_eq!(map["long"], Value::Int(i64::MAX));
        assert_eq!(serde_json::to_string(&Value::Map(map)).unwrap(), text);
        assert_eq!(serde_json::from_str::<Value>("18446744073709551615").unwrap(), Value::Float(u64::MAX as f64));
    }
}
