//! A worker in a few lines: takes jobs over HTTP, prints them, and says how they went.
//!
//! `cargo run --example worker -- 127.0.0.1:3000`. A job whose payload has `"fail_once": true` fails
//! at its first try.

use std::error::Error;

use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::http(&address).map_err(|error| error.to_string())?;
    println!("worker: listening on {}", server.server_addr());
    for mut request in server.incoming_requests() {
        let mut payload = String::new();
        request.as_reader().read_to_string(&mut payload)?;
        let header = |name: &'static str| {
            let found = request.headers().iter().find(|header| header.field.equiv(name));
            found.map_or("?", |header| header.value.as_str()).to_owned()
        };
        let (job, attempt) = (header("Fireworq-Job-Id"), header("Fireworq-Attempt"));
        let fails = attempt == "1" && payload.contains(r#""fail_once":true"#);
        let answer = if fails {
            r#"{"status":"failure","message":"not at the first try"}"#
        } else {
            r#"{"status":"success","message":"done"}"#
        };
        println!("worker: job {job}, try {attempt}: {payload} -> {answer}");
        request.respond(Response::from_string(answer))?;
    }
    Ok(())
}
