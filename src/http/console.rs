//! The console: pages for people, made of files that are part of the binary.
//!
//! They are served as they are written, with no build step. What they show and do goes through
//! the same API that everybody else uses; nothing here looks at jobs. The policy that comes with
//! each file allows scripts, styles and requests of this daemon alone, and no script or style in
//! the page itself, so that nothing a payload holds can run or leave.

use std::io::Cursor;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::api::{Api, Call};
use super::error::Refusal;
use super::{Header, Response, StatusCode};

/// What a browser may do with the console: run its own scripts, ask this daemon, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the console.
struct File {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        File {
            name: $name,
            content_type: $content_type,
            content: include_str!(concat!("../console/", $name)),
        }
    };
}

/// The page that the others belong to.
static PAGE: File = file!("index.html", HTML);

/// All files but the page, by their names below `/console/`.
static FILES: &[File] = &[
    file!("console.css", CSS),
    file!("icon.svg", SVG),
    file!("api.js", JS),
    file!("chart.js", JS),
    file!("curl.js", JS),
    file!("dialog.js", JS),
    file!("dom.js", JS),
    file!("form.js", JS),
    file!("format.js", JS),
    file!("job.js", JS),
    file!("json.js", JS),
    file!("listing.js", JS),
    file!("live.js", JS),
    file!("main.js", JS),
    file!("node.js", JS),
    file!("payload.js", JS),
    file!("queue.js", JS),
    file!("queue_form.js", JS),
    file!("queues.js", JS),
    file!("retry.js", JS),
    file!("routings.js", JS),
    file!("theme.js", JS),
];

/// The tags of the files, the page's first: they change whenever the content does.
static TAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| std::iter::once(&PAGE).chain(FILES).map(tag).collect());

fn tag(file: &File) -> String {
    let digest = Sha256::digest(file.content.as_bytes());
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]))
}

/// The page itself.
pub(super) fn page(_: &Api, call: &Call) -> Result<Response, Refusal> {
    Ok(respond(&PAGE, &TAGS[0], call.request.header("If-None-Match")))
}

/// `/console/`: the page's links are relative to a path without the slash.
pub(super) fn slash(_: &Api, _: &Call) -> Result<Response, Refusal> {
    let location = Header::from_bytes("Location", "../console").into_iter().collect();
    Ok(Response::new(StatusCode(308), location, Cursor::new(Vec::new()), Some(0), None))
}

/// A file that the page refers to.
pub(super) fn file(_: &Api, call: &Call) -> Result<Response, Refusal> {
    let index = FILES.iter().position(|file| file.name == call.value(0));
    let index = index.ok_or_else(Refusal::unknown_path)?;
    Ok(respond(&FILES[index], &TAGS[index + 1], call.request.header("If-None-Match")))
}

/// The file, or 304 if the client has it. The client asks each time, so that after an upgrade it
/// never mixes files of two versions for long; the answer is then a few bytes.
fn respond(file: &File, tag: &str, known: Option<&str>) -> Response {
    let is_known = known.is_some_and(|known| {
        let mut tags = known.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|known| known == tag || known == "*")
    });
    let headers = [
        ("Content-Type", file.content_type),
        ("Cache-Control", "no-cache"),
        ("ETag", tag),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ];
    let headers =
        headers.into_iter().filter_map(|(name, value)| Header::from_bytes(name, value).ok());
    let (status, body) = match is_known {
        true => (304, Vec::new()),
        false => (200, file.content.as_bytes().to_vec()),
    };
    let length = body.len();
    Response::new(StatusCode(status), headers.collect(), Cursor::new(body), Some(length), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that turn text into markup or code.
    const FORBIDDEN: [&str; 10] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "setHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "srcdoc",
        "eval(",
        "new Function",
    ];

    #[test]
    fn nothing_is_ever_read_as_markup() {
        for file in FILES.iter().filter(|file| file.content_type == JS) {
            for forbidden in FORBIDDEN {
                assert!(!file.content.contains(forbidden), "{}: {forbidden}", file.name);
            }
        }
    }

    #[test]
    fn the_page_holds_no_script_and_no_style_of_its_own() {
        for forbidden in ["<style", "style=", "onclick", "onload", "javascript:", "://"] {
            assert!(!PAGE.content.contains(forbidden), "{forbidden}");
        }
        for script in PAGE.content.split("<script").skip(1) {
            let (attributes, rest) = script.split_once('>').unwrap();
            assert!(attributes.contains("src=\"console/"), "{attributes}");
            assert!(rest.starts_with("</script>"), "a script in the page");
        }
    }

    #[test]
    fn no_file_names_another_host() {
        for file in FILES {
            // The name of a namespace, which is never asked for.
            let text = file.content.replace("http://www.w3.org/2000/svg", "");
            for line in text.lines().filter(|line| line.contains("://")) {
                let is_example = line.contains("http://127.0.0.1:") || line.contains("`http://");
                assert!(is_example || !line.contains("http"), "{}: {line}", file.name);
            }
        }
    }

    #[test]
    fn every_file_is_served_and_small_enough_to_read() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_served = name == PAGE.name || FILES.iter().any(|file| file.name == name);
            assert!(is_served, "{name} is not served");
        }
        for file in std::iter::once(&PAGE).chain(FILES) {
            assert!(file.content.lines().count() <= 500, "{} is long", file.name);
            let longest = file.content.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{} has a line of {longest:?} columns", file.name);
        }
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let status = |known| respond(&PAGE, "\"a\"", known).status_code().0;
        assert_eq!(status(None), 200);
        assert_eq!(status(Some("\"b\"")), 200);
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert_eq!(status(Some(known)), 304, "{known}");
        }
    }
}
