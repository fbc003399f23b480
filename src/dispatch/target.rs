//! What a URL's text asks for: where to connect, what to request, with which authorization.
//!
//! Pure. No text of this module repeats the URL, which may hold a password.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::{HeaderValue, Uri};
use url::{Position, Url};

/// A URL that can be requested.
#[derive(Debug)]
pub struct Target {
    /// The whole of it, against which a relative redirect is resolved.
    url: Url,
    /// The same without user, password and fragment.
    uri: Uri,
    /// `Basic …`, if the URL has a user or a password.
    authorization: Option<HeaderValue>,
}

impl Target {
    /// The target that `text` names.
    ///
    /// # Errors
    /// Why it cannot be requested, in words that follow "the URL".
    pub fn parse(text: &str) -> Result<Target, String> {
        if text.chars().any(char::is_control) {
            return Err("has a control character".to_owned());
        }
        // The parser below drops blanks at the ends and takes `http:host`, as browsers do.
        if text.trim() != text {
            return Err("starts or ends with a blank".to_owned());
        }
        let (_, rest) = text.split_once("://").ok_or("is not absolute")?;
        check_authority(rest)?;
        Target::of(Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?)
    }

    /// Where a redirect from here with this `Location` leads. User and password go along where
    /// the location is relative, and nowhere else.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn redirected(&self, location: &[u8]) -> Result<Target, String> {
        let text = str::from_utf8(location).map_err(|_| "is not UTF-8")?;
        let rest = match text.split_once(':') {
            Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
                Some(rest.strip_prefix("//").ok_or("is not absolute")?)
            }
            _ => text.strip_prefix("//"),
        };
        rest.map_or(Ok(()), check_authority)?;
        let url = self.url.join(text).map_err(|error| format!("is not a URL: {error}"))?;
        Target::of(url)
    }

    fn of(url: Url) -> Result<Target, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("has a scheme that is not http or https".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host".to_owned());
        }
        // Part by part: taken whole, the longest URL there may be is one byte too long for it.
        let uri = Uri::builder()
            .scheme(url.scheme())
            .authority(&url[Position::BeforeHost..Position::AfterPort])
            .path_and_query(&url[Position::BeforePath..Position::AfterQuery])
            .build()
            .map_err(|error| format!("is not a URL: {error}"))?;
        let authorization = basic_authorization(&url);
        Ok(Target { url, uri, authorization })
    }

    /// The URL without user, password and fragment.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The whole URL, password included: not for the eyes of others.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The value of the header `Authorization`, if there is to be one.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Refuses what follows `//` where it starts with no host: the parser looks for one further on, as
/// browsers do.
fn check_authority(text: &str) -> Result<(), String> {
    if text.starts_with(['/', '\\', '?', '#']) {
        return Err("has no host".to_owned());
    }
    Ok(())
}

/// `Basic …` for the user and the password of `url`, if it has any.
pub fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials = percent_decode_str(url.username()).collect::<Vec<u8>>();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let value = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> String {
        Target::parse(text).unwrap().uri().to_string()
    }

    fn credentials(target: &Target) -> Option<Vec<u8>> {
        let value = target.authorization()?.to_str().unwrap();
        Some(BASE64_STANDARD.decode(value.strip_prefix("Basic ").unwrap()).unwrap())
    }

    #[test]
    fn a_url_is_requested_without_its_fragment_and_its_user() {
        for (text, expected) in [
            ("http://example.com", "http://example.com/"),
            ("HTTPS://Example.COM:443/a?b=c#d", "https://example.com/a?b=c"),
            ("http://u:p@127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
            ("http://[::1]:9/?q", "http://[::1]:9/?q"),
            ("http://h/a b|c%20^é?d e'\"{}", "http://h/a%20b|c%20^%C3%A9?d%20e%27%22{}"),
            ("http://h/a%0d%0aX:%20y", "http://h/a%0d%0aX:%20y"),
            ("http://日本.example/", "http://xn--wgv71a.example/"),
        ] {
            assert_eq!(uri(text), expected, "{text}");
        }
    }

    #[test]
    fn a_user_becomes_basic_authorization() {
        for (text, expected) in [
            ("http://h/", None),
            ("http://u:p@h/", Some("u:p")),
            ("http://u@h/", Some("u:")),
            ("http://:p@h/", Some(":p")),
            ("http://a%40b:c%3Ad%25@h/", Some("a@b:c:d%")),
            ("http://u:a%0d%0aX@h/", Some("u:a\r\nX")),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(credentials(&target), expected.map(|text| text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn what_cannot_be_requested_is_refused_without_its_password() {
        for text in [
            "",
            "example.com/secret",
            "/secret",
            "http:example.com",
            "http:/example.com",
            "http://",
            "http:///secret",
            "http:////secret",
            "http://?secret",
            "http://u:secret@",
            "http://u:secret@:80/",
            "http://u:secret@h:99999/",
            "http://u:secret@h h/",
            "http://u:secret@a\"b/",
            "http://u:secret@h/\r\nX: y",
            "http://u:secret@h/\u{85}",
            "http://u:sec\tret@h/",
            " http://u:secret@h/",
            "http://u:secret@h/ ",
            "file:///secret",
            "ftp://u:secret@h/",
            "javascript://u:secret@h/",
            "http://[::1/secret",
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_url_too_long_for_a_request_is_refused() {
        assert!(Target::parse(&format!("http://h/{}", "a".repeat(65_000))).is_ok());
        assert!(Target::parse(&format!("http://h/{}", "é".repeat(30_000))).is_err());
    }

    #[test]
    fn a_redirect_keeps_the_user_only_where_it_is_relative() {
        let from = Target::parse("http://u:p@h:1/a/b?c").unwrap();
        for (location, expected, keeps) in [
            ("d?e", "http://h:1/a/d?e", true),
            ("/d", "http://h:1/d", true),
            ("?d", "http://h:1/a/b?d", true),
            ("../../x", "http://h:1/x", true),
            ("//other/d", "http://other/d", false),
            ("http://h:1/d", "http://h:1/d", false),
            ("https://other/d#f", "https://other/d", false),
            ("/d?e=http:///f", "http://h:1/d?e=http:///f", true),
        ] {
            let target = from.redirected(location.as_bytes()).unwrap();
            assert_eq!(target.uri().to_string(), expected);
            assert_eq!(credentials(&target).is_some(), keeps, "{location}");
        }
        let other = from.redirected(b"http://x:y@other/").unwrap();
        assert_eq!(credentials(&other).unwrap(), b"x:y");
        for location in [
            &b"file:///etc/passwd"[..],
            b"http://:80/",
            b"mailto:a@b",
            b"/\xff",
            b"http:///x",
            b"http:////x",
            b"HTTPS:///x",
            b"https:x",
            b"http:/x",
            b"///x",
            b"//",
        ] {
            let shown = String::from_utf8_lossy(location);
            assert!(from.redirected(location).is_err(), "{shown}");
        }
    }
}
