//! What a worker's answer means: an HTTP status and a body become an [`Outcome`].
//!
//! Pure. The HTTP status is only recorded; the body decides.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::job::{Outcome, OutcomeStatus};

/// The outcome that an answer with the HTTP status `code` and the whole `body` stands for.
pub fn outcome(code: u16, body: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let answer = match serde_json::from_str::<Answer>(&text) {
        Ok(answer) => answer,
        Err(error) => return not_understood(code, "Cannot parse body as JSON", &error, &text),
    };
    let status = match answer.status.as_str() {
        "success" => OutcomeStatus::Success,
        "failure" => OutcomeStatus::Failure,
        "permanent-failure" => OutcomeStatus::PermanentFailure,
        other => return not_understood(code, "Invalid result status", &other, &text),
    };
    Outcome { status, code, message: answer.message }
}

/// The outcome of an answer whose body did not arrive whole.
pub fn unreadable_body(code: u16, why: &str) -> Outcome {
    let message = format!("Cannot read body: {why}");
    Outcome { status: OutcomeStatus::Failure, code, message }
}

/// The outcome of a try without an answer.
pub fn no_answer(why: &str) -> Outcome {
    let message = format!("Request failed: {why}");
    Outcome { status: OutcomeStatus::InternalFailure, code: 0, message }
}

/// `outcome` with its message cut to at most `max_message_bytes`, between two characters.
pub fn shortened(mut outcome: Outcome, max_message_bytes: usize) -> Outcome {
    if outcome.message.len() > max_message_bytes {
        let mut end = max_message_bytes;
        while !outcome.message.is_char_boundary(end) {
            end -= 1;
        }
        outcome.message.truncate(end);
        outcome.message.shrink_to_fit();
    }
    outcome
}

fn not_understood(code: u16, what: &str, why: &dyn fmt::Display, body: &str) -> Outcome {
    let message = format!("{what}: {why}\nOriginal response body:\n{body}");
    Outcome { status: OutcomeStatus::Failure, code, message }
}

/// The fields of a body that count. A field that is absent or null is empty.
#[derive(Default)]
struct Answer {
    status: String,
    message: String,
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
        deserializer.deserialize_map(AnswerVisitor)
    }
}

struct AnswerVisitor;

impl<'de> Visitor<'de> for AnswerVisitor {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
        let mut answer = Answer::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Status => set(&mut answer.status, "status", map.next_value()?)?,
                Key::Message => set(&mut answer.message, "message", map.next_value()?)?,
                Key::Code => drop(map.next_value::<Option<i64>>()?),
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(answer)
    }
}

/// Sets `field` from a JSON string; null leaves it. The text goes through [`RawValue`], which
/// refuses what is no JSON, and then through [`Text`], which takes half a surrogate pair.
fn set<E: de::Error>(field: &mut String, name: &str, raw: &RawValue) -> Result<(), E> {
    match serde_json::from_str::<Option<Text>>(raw.get()) {
        Ok(Some(Text(text))) => *field = text,
        Ok(None) => {}
        Err(error) => return Err(E::custom(format_args!("{name}: {error}"))),
    }
    Ok(())
}

/// A key of the body, matched without regard to case.
enum Key {
    Status,
    Code,
    Message,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
        Ok(if key.eq_ignore_ascii_case("status") {
            Key::Status
        } else if key.eq_ignore_ascii_case("code") {
            Key::Code
        } else if key.eq_ignore_ascii_case("message") {
            Key::Message
        } else {
            Key::Other
        })
    }
}

/// A JSON string in which half a surrogate pair reads as U+FFFD. JavaScript writes such a string
/// where it cuts a text within a character, and Go's parser takes it.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::OutcomeStatus::*;
    use super::*;

    #[test]
    fn whatever_a_worker_answers_is_an_outcome() {
        let corpus: [&[u8]; 8] = [
            br#"{"status":"success","message":"done"}"#,
            br#" {"Status":"failure","MESSAGE":"\ud800\u0000\n","x":[1,{"y":null}]} "#,
            br#"{"status":"permanent-failure","message":5}"#,
            br#"{"status":null,"status":"success"}"#,
            br#"{"status":"SUCCESS"}{"status":"success"}"#,
            b"\xff\xfe<html>500</html>",
            b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
            b"",
        ];
        crate::fuzz::run(&corpus, |body, random| {
            let code = u16::try_from(100 + random.below(500)).unwrap();
            let limit = random.below(100);
            let read = outcome(code, body);
            assert_eq!(read.code, code);
            assert_ne!(read.status, InternalFailure, "there was an answer");
            if read.status != Failure {
                // Nothing but its own word makes a job succeed, or fail for good.
                let word = if read.status == Success { "success" } else { "permanent" };
                assert!(String::from_utf8_lossy(body).contains(word) || body.contains(&b'\\'));
            }
            let status = read.status;
            let shown = shortened(read, limit);
            let json: serde_json::Value = serde_json::from_slice(&shown.to_json()).unwrap();
            assert_eq!(json["message"], shown.message);
            assert!(shown.message.len() <= limit + 40, "{} of {limit}", shown.message.len());
            format!("{status:?} {}", shown.message.chars().take(12).collect::<String>())
        });
    }

    /// The status and the message of a body.
    fn read(body: &str) -> (OutcomeStatus, String) {
        let outcome = outcome(200, body.as_bytes());
        (outcome.status, outcome.message)
    }

    #[test]
    fn the_body_decides_whatever_the_http_status() {
        for code in [200, 204, 302, 404, 500, 599] {
            let outcome = outcome(code, br#"{"status":"success","message":"ok"}"#);
            assert_eq!(outcome, Outcome { status: Success, code, message: "ok".into() });
        }
    }

    #[test]
    fn the_three_words_are_understood() {
        for (body, status, message) in [
            (r#"{"status":"success"}"#, Success, ""),
            (r#"{"status":"failure","message":"no"}"#, Failure, "no"),
            (r#"{"status":"permanent-failure","message":null}"#, PermanentFailure, ""),
            (r#" {"message":"a","status":"success"} "#, Success, "a"),
            (r#"{"STATUS":"success","Message":"a","cOdE":7}"#, Success, "a"),
            (r#"{"status":"failure","Status":"success"}"#, Success, ""),
            (r#"{"status":"success","status":null}"#, Success, ""),
            (r#"{"status":"success","code":null}"#, Success, ""),
            (r#"{"status":"success","code":-9223372036854775808}"#, Success, ""),
            (r#"{"status":"success","other":{"status":["failure"]}}"#, Success, ""),
            (r#"{"st\u0061tus":"succ\u0065ss"}"#, Success, ""),
        ] {
            assert_eq!(read(body), (status, message.to_owned()), "{body}");
        }
    }

    #[test]
    fn another_status_is_a_failure_that_shows_the_body() {
        for (body, shown) in [
            (r#"{"status":"done"}"#, "done"),
            (r#"{"status":"Success"}"#, "Success"),
            (r#"{"status":"internal-failure"}"#, "internal-failure"),
            (r#"{"status":null}"#, ""),
            ("{}", ""),
        ] {
            let expected =
                format!("Invalid result status: {shown}\nOriginal response body:\n{body}");
            assert_eq!(read(body), (Failure, expected));
        }
    }

    #[test]
    fn what_is_no_answer_is_a_failure_that_shows_the_body() {
        for body in [
            "",
            "ok",
            "null",
            "[]",
            "\"success\"",
            r#"["success","",200]"#,
            r#"{"status":"success"}x"#,
            r#"{"status":"success"}{}"#,
            r#"{"status":"success""#,
            r#"{"status":"success",}"#,
            r#"{"status":1}"#,
            r#"{"status":["success"]}"#,
            r#"{"status":"success","message":1}"#,
            r#"{"status":"success","message":[104,105]}"#,
            r#"{"status":"success","code":"200"}"#,
            r#"{"status":"success","code":200.5}"#,
            r#"{"status":"success","code":9223372036854775808}"#,
            "{\"status\":\"success\",\"message\":\"a\nb\"}",
            "\u{feff}{\"status\":\"success\"}",
        ] {
            let (status, message) = read(body);
            assert_eq!(status, Failure, "{body}");
            assert!(message.starts_with("Cannot parse body as JSON: "), "{message}");
            assert!(message.ends_with(&format!("\nOriginal response body:\n{body}")), "{message}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_read_as_replacement_characters() {
        let good = outcome(200, b"{\"status\":\"success\",\"message\":\"a\xffb\"}");
        assert_eq!((good.status, good.message.as_str()), (Success, "a\u{fffd}b"));
        let bad = outcome(200, b"\xff");
        assert!(bad.message.ends_with("\nOriginal response body:\n\u{fffd}"), "{}", bad.message);
    }

    #[test]
    fn half_a_surrogate_pair_spoils_nothing() {
        let (status, message) = read(r#"{"status":"success","message":"cut \ud83d"}"#);
        assert_eq!(status, Success);
        assert!(message.starts_with("cut \u{fffd}"), "{message}");
        assert_eq!(read(r#"{"status":"success","message":"\ud83d\ude00"}"#).1, "😀");
    }

    #[test]
    fn deep_nesting_overflows_no_stack() {
        let deep = "[".repeat(1_000_000);
        for body in [
            deep.clone(),
            format!(r#"{{"other":{deep}"#),
            format!(r#"{{"message":{deep}"#),
            format!(r#"{{"code":{deep}"#),
        ] {
            assert!(read(&body).1.starts_with("Cannot parse body as JSON: "));
        }
        let closed = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let body = format!(r#"{{"other":{closed},"status":"success"}}"#);
        assert_eq!(read(&body).0, Success);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = |message: &str| Outcome { message: message.into(), ..no_answer("") };
        for (message, max, expected) in
            [("abc", 3, "abc"), ("abcd", 3, "abc"), ("aéé", 4, "aé"), ("é", 1, ""), ("a", 0, "")]
        {
            assert_eq!(shortened(long(message), max).message, expected);
        }
    }
}
