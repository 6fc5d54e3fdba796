//! Reading a [`Value`] by the type that stands there.
//!
//! Serde's own way for untagged enums keeps a copy and tries one variant after the other: seven times slower, and the store
//! reads the settings of every server for a listing.

use super::Value;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt};

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
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

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
