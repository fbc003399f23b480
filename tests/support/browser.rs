//! A real browser, Chromium, driven as a person uses it: by the W3C's WebDriver protocol, which
//! is JSON over HTTP, spoken with a process `chromedriver` that belongs to it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::guard::{Guarded, Process};
use super::http;
use super::wait::eventually;

const MISSING: &str = "Chromium and its driver are needed for this test and are not installed: \
                       run `make test`, or install the packages chromium and chromium-driver";
/// How long the browser may take for anything, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The key of an element's name in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no character.
pub mod key {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const SPACE: &str = " ";
}

/// A browser with one window. Dropping it ends it; should the test process die first, that ends
/// it too.
pub struct Browser {
    // The order of the fields is the order of the end.
    _driver: Process,
    _chromium: Process,
    _directory: TempDir,
    address: SocketAddr,
    session: String,
}

/// What the driver refused: its code and its words.
#[derive(Debug)]
pub struct Refused {
    pub code: String,
    pub message: String,
}

impl Browser {
    /// Starts it.
    pub fn start() -> Browser {
        let directory = tempfile::Builder::new().prefix("fireworq-browser-").tempdir().unwrap();
        let path = directory.path();
        let chromium = chromium(path);
        let driver = Guarded::new(program(&["chromedriver"]))
            .arguments(["--port=0"])
            .output_to(&path.join("driver.output"))
            .in_directory(path)
            .start(File::create(path.join("driver.errors")).unwrap());
        let debugger: u16 = eventually("Chromium listens", PATIENCE, || {
            let port = std::fs::read_to_string(path.join("profile/DevToolsActivePort")).ok()?;
            port.lines().next()?.parse().ok()
        });
        let port: u16 = eventually("the driver listens", PATIENCE, || {
            let output = std::fs::read_to_string(path.join("driver.output")).ok()?;
            let (_, rest) = output.split_once("started successfully on port ")?;
            rest.split_once('.')?.0.parse().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "debuggerAddress": format!("127.0.0.1:{debugger}") },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let answer = http::post(address, "/session", capabilities.to_string()).json();
        let session = answer["value"]["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Browser { _driver: driver, _chromium: chromium, _directory: directory, address, session }
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        let path = format!("/session/{}{path}", self.session);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut client = http::Client::connect(self.address);
        client.be_patient_for(PATIENCE);
        let answer = client.request(method, &path, &[("Connection", "close")], body);
        let value = answer.json()["value"].take();
        if answer.status == 200 {
            return Ok(value);
        }
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Err(Refused { code: text("error"), message: text("message") })
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.command(method, path, body).unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// Opens an address and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.must("POST", "/url", &json!({ "url": url }));
    }

    /// What a script answers; it is the body of a function.
    #[track_caller]
    pub fn script(&self, body: &str) -> Value {
        self.must("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until a script's expression is true.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        eventually(expression, PATIENCE, || {
            (self.script(&format!("return Boolean({expression})")) == true).then_some(())
        });
    }

    /// Waits until a text stands on the page where it can be seen.
    #[track_caller]
    pub fn until_shown(&self, text: &str) {
        let shown = format!("document.body.innerText.includes({})", json!(text));
        self.until(&shown);
    }

    /// The first element that an XPath finds, if any.
    fn find(&self, xpath: &str) -> Result<String, Refused> {
        let element =
            self.command("POST", "/element", &json!({ "using": "xpath", "value": xpath }))?;
        Ok(element[ELEMENT].as_str().unwrap().to_owned())
    }

    /// Finds an element and does something with it. Tries again while it is not there, not to be
    /// seen, or replaced by another in this moment.
    #[track_caller]
    fn with_element(&self, xpath: &str, act: impl Fn(&str) -> Result<Value, Refused>) -> Value {
        let mut last = None;
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            match self.find(xpath).and_then(|element| act(&element)) {
                Ok(value) => return value,
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let shown = self.script("return document.body.innerText");
        panic!("{xpath}: {last:?}\n--- the page shows:\n{}", shown.as_str().unwrap_or_default());
    }

    /// Clicks on what an XPath finds, as soon as it can be clicked.
    #[track_caller]
    pub fn click(&self, xpath: &str) {
        self.with_element(xpath, |element| {
            self.command("POST", &format!("/element/{element}/click"), &json!({}))
        });
    }

    /// Clicks on the button, or the link, with this text or label.
    #[track_caller]
    pub fn press(&self, label: &str) {
        self.click(&named(&["button", "a", "summary"], label));
    }

    /// The same within the open dialog.
    #[track_caller]
    pub fn press_in_dialog(&self, label: &str) {
        self.click(&format!("//dialog{}", named(&["button", "a", "summary"], label)));
    }

    /// Replaces what stands in the field of this name, in the open dialog if there is one.
    #[track_caller]
    pub fn fill(&self, field: &str, text: &str) {
        let named = format!("*[@name='{field}']");
        let xpath = format!("//dialog//{named} | //{named}[not(//dialog)]");
        self.with_element(&xpath, |element| {
            self.command("POST", &format!("/element/{element}/clear"), &json!({}))?;
            let path = format!("/element/{element}/value");
            self.command("POST", &path, &json!({ "text": text }))
        });
    }

    /// Chooses an option, by its value, of the select of this name.
    #[track_caller]
    pub fn choose(&self, field: &str, value: &str) {
        self.click(&format!("//select[@name='{field}']/option[@value='{value}']"));
    }

    /// The text of what an XPath finds, as it can be seen.
    #[track_caller]
    pub fn text(&self, xpath: &str) -> String {
        let text = self.with_element(xpath, |element| {
            self.command("GET", &format!("/element/{element}/text"), &Value::Null)
        });
        text.as_str().unwrap().to_owned()
    }

    /// Presses keys, one after the other, wherever the focus is.
    #[track_caller]
    pub fn keys(&self, keys: &[&str]) {
        let characters = keys.iter().flat_map(|text| text.chars());
        let actions: Vec<Value> = characters
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.must("POST", "/actions", &body);
    }

    /// A picture of what the window shows, in PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let picture = self.must("GET", "/screenshot", &Value::Null);
        STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// A command of the browser's own protocol, for what the W3C's has not.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.must("POST", "/goog/cdp/execute", &body)
    }

    /// The window's size in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether the system is said to like it `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What the browser has logged since this was last asked: warnings, errors, breaches of a
    /// policy. Requests that found nobody, or an error, are left out.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.must("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        let messages = entries.map(|entry| entry["message"].as_str().unwrap().to_owned());
        messages.filter(|message| !message.contains("Failed to load resource")).collect()
    }

    /// The addresses that were asked for since this was last asked.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.must("POST", "/se/log", &json!({ "type": "performance" }));
        let entries = entries.as_array().unwrap().iter();
        entries
            .filter_map(|entry| {
                let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
                let message = &event["message"];
                (message["method"] == "Network.requestWillBeSent")
                    .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
            })
            .collect()
    }
}

/// An XPath for an element of one of these kinds with this text or this label.
fn named(kinds: &[&str], label: &str) -> String {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("self::{kind}")).collect();
    format!("//*[{}][normalize-space()='{label}' or @aria-label='{label}']", kinds.join(" or "))
}

fn chromium(directory: &Path) -> Process {
    Guarded::new(program(&["chromium", "chromium-browser", "google-chrome"]))
        .arguments([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            // Otherwise a window that nothing looks at draws and counts more slowly.
            "--disable-background-timer-throttling",
            "--disable-renderer-backgrounding",
            "--remote-debugging-port=0",
            "--window-size=1280,900",
        ])
        .arguments([
            format!("--user-data-dir={}", directory.join("profile").display()),
            "about:blank".into(),
        ])
        .in_directory(directory)
        .start(File::create(directory.join("chromium.errors")).unwrap())
}

fn program(names: &[&str]) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&path).collect();
    let files = names.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    files.into_iter().find(|file| file.is_file()).expect(MISSING)
}
