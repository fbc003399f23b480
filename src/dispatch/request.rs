//! The request that delivers a job.
//!
//! Pure. Whatever a job or a queue holds, no line break reaches a header.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use ureq::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, PROXY_AUTHORIZATION};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::proxy::ProxyServer;
use super::target::Target;
use crate::job::Job;

const QUEUE: HeaderName = HeaderName::from_static("fireworq-queue");
const CATEGORY: HeaderName = HeaderName::from_static("fireworq-category");
const JOB_ID: HeaderName = HeaderName::from_static("fireworq-job-id");
const ATTEMPT: HeaderName = HeaderName::from_static("fireworq-attempt");

/// What is percent-encoded in a header: all but visible ASCII, and the percent sign, so that the
/// text can be told from its encoding.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// One request of a try; a redirect leads to another.
pub struct Call<'a> {
    /// The name of the job's queue.
    pub queue: &'a str,
    /// The job.
    pub job: &'a Job,
    /// Where the request goes.
    pub target: &'a Target,
    /// The proxy it goes through.
    pub proxy: Option<&'a ProxyServer>,
    /// Whether it is the POST with its body, or what a redirect has made of it, a GET.
    pub posts: bool,
    /// Whether the connection may be kept.
    pub keeps_alive: bool,
}

impl Call<'_> {
    /// The request with this body.
    pub fn with_body<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.uri_mut() = self.target.uri().clone();
        *request.headers_mut() = self.headers();
        if self.posts {
            *request.method_mut() = Method::POST;
        }
        request
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(QUEUE, encoded(self.queue));
        headers.insert(CATEGORY, encoded(&self.job.category));
        headers.insert(JOB_ID, HeaderValue::from(self.job.id));
        headers.insert(ATTEMPT, HeaderValue::from(self.job.attempt()));
        if self.posts {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if !self.keeps_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = self.target.authorization() {
            headers.insert(AUTHORIZATION, value.clone());
        }
        // Through a tunnel, the worker would see it.
        let is_forwarded = self.target.url().scheme() == "http";
        if let Some(value) = self.proxy.and_then(|proxy| proxy.authorization.as_ref())
            && is_forwarded
        {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
        headers
    }

    /// The longest line of the request's head, in bytes, but for a few words.
    pub fn longest_line_bytes(&self) -> usize {
        let path = self.target.uri().path_and_query().map_or(0, |path| path.as_str().len());
        path.max(self.target.authorization().map_or(0, HeaderValue::len))
    }
}

fn encoded(text: &str) -> HeaderValue {
    let encoded = utf8_percent_encode(text, NOT_PLAIN).to_string();
    // What is left is visible ASCII, which every header takes.
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_header_is_visible_ascii() {
        for (text, expected) in [
            ("", ""),
            ("foo/bar-1.2_x~", "foo/bar-1.2_x~"),
            ("a b", "a%20b"),
            ("a\r\nX: y", "a%0D%0AX:%20y"),
            ("日\u{7f}\0\u{85}", "%E6%97%A5%7F%00%C2%85"),
            ("100%41", "100%2541"),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }
}
