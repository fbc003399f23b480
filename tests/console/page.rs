//! The browser that the tests share, and the console in it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::json;

use crate::support::browser::Browser;

/// The console of one daemon, in the one browser. Only one test has it at a time.
pub struct Page {
    browser: MutexGuard<'static, Browser>,
    origin: String,
}

impl Deref for Page {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}

impl Page {
    /// Opens a page of the console: `#/queues`.
    #[track_caller]
    pub fn open(daemon: SocketAddr, hash: &str) -> Page {
        static BROWSER: OnceLock<Mutex<Browser>> = OnceLock::new();
        let browser = BROWSER.get_or_init(|| Mutex::new(Browser::start()));
        let browser = browser.lock().unwrap_or_else(PoisonError::into_inner);
        browser.open("about:blank");
        browser.resize(1280, 900);
        // What the last test has left.
        set_zone(&browser, "");
        browser.complaints();
        browser.requests();
        let page = Page { browser, origin: format!("http://{daemon}") };
        page.browser.open(&format!("{}/console{hash}", page.origin));
        page
    }

    /// Opens the page anew in a browser of this time zone.
    #[track_caller]
    pub fn be_in_zone(&self, zone: &str) {
        set_zone(&self.browser, zone);
        self.script("location.reload()");
    }

    /// Goes to another page of the console, as by a link.
    #[track_caller]
    pub fn go(&self, hash: &str) {
        self.script(&format!("location.hash = {}", json!(hash)));
    }

    /// The curl command that is shown last, which is the one of the dialog if one is open.
    #[track_caller]
    pub fn curl(&self) -> String {
        let found = "return [...document.querySelectorAll('.curl-line')].at(-1).textContent";
        self.script(found).as_str().unwrap().to_owned()
    }

    /// Waits until the row of a table that holds `name` shows `text` as well.
    #[track_caller]
    pub fn until_row_shows(&self, name: &str, text: &str) {
        self.until(&format!(
            "[...document.querySelectorAll('tbody tr')].some((row) => \
             row.innerText.includes({}) && row.innerText.includes({}))",
            json!(name),
            json!(text)
        ));
    }

    /// Waits until no row of a table holds `name`, though the page has been read.
    #[track_caller]
    pub fn until_no_row_shows(&self, name: &str) {
        self.until(&format!(
            "![...document.querySelectorAll('tbody tr')].some((row) => \
             row.innerText.includes({}))",
            json!(name)
        ));
    }

    /// What has the focus: its name, its label or its text.
    #[track_caller]
    pub fn focused(&self) -> String {
        let found = "const e = document.activeElement; \
             return e.name || e.ariaLabel || e.textContent.trim()";
        self.script(found).as_str().unwrap().to_owned()
    }

    /// Waits until no dialog is open.
    #[track_caller]
    pub fn until_closed(&self) {
        self.until("document.querySelector('dialog') === null");
    }
}

/// Puts the browser into a time zone; `""` is that of the machine.
fn set_zone(browser: &Browser, zone: &str) {
    browser.devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": zone }));
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let complaints = self.browser.complaints();
        assert!(complaints.is_empty(), "the browser complains: {complaints:#?}");
        let strangers: Vec<String> = self
            .browser
            .requests()
            .into_iter()
            // The browser draws the marks of its own fields by `data:`.
            .filter(|url| {
                !url.starts_with(&self.origin)
                    && url != "about:blank"
                    // What the page hands out itself.
                    && !url.starts_with(&format!("blob:{}/", self.origin))
                    && !url.starts_with("data:image/svg+xml;base64,")
            })
            .collect();
        assert!(strangers.is_empty(), "another host was asked: {strangers:#?}");
    }
}
