//! Which answers send a request elsewhere, and how.
//!
//! Pure. The loop that follows them is [`super::Dispatcher`]'s, since `ureq` repeats no body.

use ureq::http::header::{HeaderMap, LOCATION};
use ureq::http::{HeaderValue, StatusCode};

/// The most redirects followed for one try.
pub const MAX_REDIRECTS: u32 = 10;

/// A redirect that is to be followed.
#[derive(Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// Where to, as the worker wrote it.
    pub location: &'a [u8],
    /// Whether the request is sent again as it was, or becomes a GET without a body.
    pub repeats: bool,
}

impl<'a> Redirect<'a> {
    /// The redirect that an answer asks for. One without `Location` is an answer like any other.
    pub fn of(status: StatusCode, headers: &'a HeaderMap) -> Option<Redirect<'a>> {
        let repeats = match status.as_u16() {
            301..=303 => false,
            307 | 308 => true,
            _ => return None,
        };
        let location = headers.get(LOCATION).map(HeaderValue::as_bytes)?;
        (!location.is_empty()).then_some(Redirect { location, repeats })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_statuses_with_a_location_are_followed() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("/x"));
        let repeats = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Redirect::of(status, &HeaderMap::new()), None);
            Redirect::of(status, &headers).map(|redirect| redirect.repeats)
        };
        for status in [301, 302, 303] {
            assert_eq!(repeats(status), Some(false));
        }
        for status in [307, 308] {
            assert_eq!(repeats(status), Some(true));
        }
        for status in [200, 201, 300, 304, 305, 306, 400, 500] {
            assert_eq!(repeats(status), None);
        }
        headers.insert(LOCATION, HeaderValue::from_static(""));
        assert_eq!(Redirect::of(StatusCode::FOUND, &headers), None);
    }
}
