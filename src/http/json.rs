//! Reading JSON bodies by the rules that clients of the original rely on.
//!
//! Keys match without regard to case, the last of a duplicated key wins, unknown keys are
//! ignored, `null` leaves the default. Values stay raw text until somebody asks for them, so that
//! a payload is kept byte for byte, and nothing recurses, however deeply a body is nested.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Refusal;

/// The fields of a JSON object that are asked for.
pub(super) struct Fields<'a> {
    names: &'static [&'static str],
    /// The last value of each name.
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Fields<'a> {
    /// Reads a body that is one JSON object, or `null`, which has no fields.
    pub(super) fn parse(
        body: &'a [u8],
        names: &'static [&'static str],
    ) -> Result<Fields<'a>, Refusal> {
        let text =
            std::str::from_utf8(body).map_err(|_| Refusal::bad_request("The body is not UTF-8"))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer
            .deserialize_any(FieldsVisitor { names })
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(|error| Refusal::bad_request(format!("Cannot parse body: {error}")))
    }

    /// The raw text of a value; `None` where it is absent or `null`.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let index = self.names.iter().position(|known| *known == name)?;
        self.values.get(index).copied()?.map(RawValue::get).filter(|text| *text != "null")
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.raw(name)
            .map(|raw| decode_string(raw).ok_or_else(|| wrong(name, raw, "a string")))
            .transpose()
    }

    /// A non-negative integer of at most `most`.
    pub(super) fn integer(&self, name: &str, most: u64) -> Result<Option<u64>, Refusal> {
        self.raw(name)
            .map(|raw| {
                let digits = raw.bytes().all(|b| b.is_ascii_digit());
                raw.parse()
                    .ok()
                    .filter(|number| digits && *number <= most)
                    .ok_or_else(|| wrong(name, raw, &format!("an integer from 0 to {most}")))
            })
            .transpose()
    }

    /// An integer that fits an unsigned 32-bit column.
    pub(super) fn integer_u32(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let value = self.integer(name, u64::from(u32::MAX))?;
        Ok(value.and_then(|value| u32::try_from(value).ok()))
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        self.raw(name)
            .map(|raw| serde_json::from_str::<f64>(raw).map_err(|_| wrong(name, raw, "a number")))
            .transpose()
    }
}

fn wrong(name: &str, raw: &str, expected: &str) -> Refusal {
    let shown: String = raw.chars().take(40).collect();
    Refusal::bad_request(format!("Invalid field: {name}: {shown} is not {expected}"))
}

/// The text that a raw JSON string stands for; `None` where it is no string. A surrogate escape
/// without its other half reads as U+FFFD.
pub(super) fn decode_string(raw: &str) -> Option<String> {
    if !raw.starts_with('"') {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    deserializer.deserialize_bytes(StringVisitor).ok()
}

/// Takes a string as the bytes that `serde_json` makes of it where lone surrogates may occur: it
/// writes them as if UTF-8 had a form for them, ED A0 80 to ED BF BF.
struct StringVisitor;

impl Visitor<'_> for StringVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return Ok(text);
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    text.push(char::REPLACEMENT_CHARACTER);
                    let is_surrogate = invalid.len() >= 3 && invalid[0] == 0xed;
                    rest = &invalid[if is_surrogate { 3 } else { 1 }..];
                }
            }
        }
    }
}

struct FieldsVisitor {
    names: &'static [&'static str],
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E>(self) -> Result<Fields<'de>, E> {
        Ok(Fields { names: self.names, values: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut values = vec![None; self.names.len()];
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value::<&RawValue>()?;
            if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(&key)) {
                values[at] = Some(value);
            }
        }
        Ok(Fields { names: self.names, values })
    }
}

/// A key, in which lone surrogates may occur as in any string.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_bytes(StringVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["url", "payload", "timeout", "rate"];

    fn parse(body: &str) -> Fields<'_> {
        Fields::parse(body.as_bytes(), NAMES).map_err(|e| e.detail).unwrap()
    }

    #[test]
    fn keys_match_without_regard_to_case_and_the_last_wins() {
        let fields = parse(r#"{"URL":"a","url":"b","Url":"c","other":[1,{"url":"d"}]}"#);
        assert_eq!(fields.text("url").ok().flatten().as_deref(), Some("c"));
        assert_eq!(parse(r#"{"url":"b","URL":null}"#).raw("url"), None);
        assert!(parse("null").raw("url").is_none());
        assert!(parse(r#"{"\ud83d":1,"url":"x"}"#).raw("url").is_some());
    }

    #[test]
    fn only_one_object_is_a_body() {
        for body in ["", "[]", "1", "\"x\"", "{", "{}x", "{} {}", "{\"a\":01}", "{\"a\":}", "nul"] {
            assert!(Fields::parse(body.as_bytes(), NAMES).is_err(), "{body}");
        }
        assert!(Fields::parse(b" {} \r\n\t", NAMES).is_ok());
        assert!(Fields::parse(b"{\"url\":\"\xff\"}", NAMES).is_err());
    }

    #[test]
    fn numbers_must_fit() {
        for value in ["-1", "1.5", "1e3", "\"5\"", "true", "10000000000000000000000", "[]", "-0"] {
            let body = format!(r#"{{"timeout":{value}}}"#);
            assert!(parse(&body).integer_u32("timeout").is_err(), "{value}");
        }
        assert!(parse(r#"{"timeout":4294967296}"#).integer_u32("timeout").is_err());
        let most = parse(r#"{"timeout":4294967295}"#);
        assert_eq!(most.integer_u32("timeout").ok().flatten(), Some(u32::MAX));
        assert_eq!(parse(r#"{"rate":2.5e0}"#).number("rate").ok().flatten(), Some(2.5));
        assert!(parse(r#"{"rate":"2"}"#).number("rate").is_err());
    }

    #[test]
    fn payloads_keep_their_spelling() {
        let body = r#"{"payload": {"a": 1.0, "b":12345678901234567890,"c":1.10 } }"#;
        assert_eq!(
            parse(body).raw("payload"),
            Some(r#"{"a": 1.0, "b":12345678901234567890,"c":1.10 }"#)
        );
    }

    #[test]
    fn strings_are_decoded() {
        for (raw, text) in [
            (r#""hello\nworld""#, "hello\nworld"),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\u0000""#, "\0"),
            (r#""""#, ""),
        ] {
            assert_eq!(decode_string(raw).as_deref(), Some(text), "{raw}");
        }
        assert_eq!(decode_string("5"), None);
    }

    #[test]
    fn deep_nesting_overflows_no_stack() {
        let depth = 1_000_000;
        let body = format!(r#"{{"payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let fields = Fields::parse(body.as_bytes(), NAMES);
        assert!(fields.is_ok_and(|f| f.raw("payload").is_some_and(|p| p.len() == 2 * depth)));
    }
}
