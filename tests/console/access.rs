//! The console without a mouse, on a narrow screen, in light and in dark.

use crate::node::unique;
use crate::page::Page;
use crate::stores::Store;
use crate::support::browser::key;

/// Presses Tab until something has the focus.
fn tab_to(page: &Page, wanted: &str) {
    for _ in 0..60 {
        if page.focused() == wanted {
            return;
        }
        page.keys(&[key::TAB]);
    }
    panic!("{wanted} cannot be reached; the focus is at {}", page.focused());
}

#[test]
fn a_queue_is_created_by_keys_alone() {
    let node = Store::Sqlite.shared();
    let name = unique("keys");
    let page = Page::open(node.address(), "");
    page.until("document.querySelector('tbody tr') !== null");
    tab_to(&page, "New queue");
    // Whoever steps through the page sees where he is.
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.script(outline), "solid");
    page.keys(&[key::ENTER]);
    page.until("document.querySelector('dialog[open]') !== null");
    assert_eq!(page.focused(), "name");
    page.keys(&[&name]);
    tab_to(&page, "max_workers");
    page.keys(&["4"]);
    // The focus stays in the dialog: behind its last button comes no link of the page below.
    tab_to(&page, "Create");
    page.keys(&[key::ENTER]);
    page.until_closed();
    page.until_row_shows(&name, "of 4");
    assert_eq!(node.get(&format!("/queue/{name}")).json()["max_workers"], 4);
    assert_eq!(page.focused(), "New queue");

    // Escape gives up; the focus goes back to where it came from.
    page.keys(&[key::SPACE]);
    page.until("document.querySelector('dialog[open]') !== null");
    page.keys(&[key::ESCAPE]);
    page.until_closed();
    assert_eq!(page.focused(), "New queue");
}

#[test]
fn every_field_and_button_has_a_name() {
    let node = Store::Sqlite.shared();
    let page = Page::open(node.address(), "");
    page.until("document.querySelector('tbody tr') !== null");
    for (hash, shown) in
        [("#/queue/default/failed", "form.filter"), ("#/job", "form.card"), ("#/node", "tbody tr")]
    {
        page.go(hash);
        page.until(&format!("document.querySelector('{shown}') !== null"));
        let nameless = page.script(
            "return [...document.querySelectorAll('input, select, textarea, button, a')] \
             .filter((e) => !e.labels?.length && !e.getAttribute('aria-label') \
               && !e.textContent.trim()).map((e) => e.outerHTML)",
        );
        assert_eq!(nameless, serde_json::json!([]), "{hash}");
    }
}

#[test]
fn nothing_is_wider_than_a_phone() {
    let node = Store::Sqlite.shared();
    let page = Page::open(node.address(), "");
    for width in [320, 360, 390, 412] {
        page.resize(width, 740);
        for hash in ["#/queues", "#/queue/default/failed", "#/routings", "#/job", "#/node"] {
            page.go(hash);
            page.until("document.querySelector('main h1') !== null");
            page.until(&format!("document.documentElement.scrollWidth <= {width}"));
        }
        page.go("#/queue/default/failed");
        page.until("document.querySelector('.filter input') !== null");
        let widths = "[...document.querySelectorAll('.filter input')].map((e) => e.offsetWidth)";
        page.until(&format!("Math.min(...{widths}) >= {width} - 60"));
    }
}

#[test]
fn the_link_past_the_navigation_keeps_the_page() {
    let node = Store::Sqlite.shared();
    let page = Page::open(node.address(), "#/routings");
    page.until("document.querySelector('main h1') !== null");
    tab_to(&page, "Skip to the content");
    page.keys(&[key::ENTER]);
    page.until("document.activeElement.id === 'main'");
    assert_eq!(page.script("return location.hash"), "#/routings");
    page.keys(&[key::TAB]);
    assert_eq!(page.focused(), "New routing");
}

#[test]
fn an_address_of_no_page_shows_the_queues() {
    let node = Store::Sqlite.shared();
    for hash in ["#main", "#/nothing/here", "#/queue", "#/queue/%"] {
        let page = Page::open(node.address(), hash);
        page.until_row_shows("default", "this node");
    }
}

#[test]
fn the_focus_goes_to_the_next_row_when_one_is_deleted() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&serde_json::json!({}));
    let job = serde_json::json!({ "url": "http://127.0.0.1:9/", "run_after": 3600 });
    let ids = [(); 3].map(|()| queue.push(&job));
    let page = Page::open(node.address(), &format!("#/queue/{}/deferred", queue.name));
    let found = |index: usize| {
        format!("document.querySelector('[aria-label=\"Delete job {}\"]')", ids[index])
    };
    page.until(&found(2));
    // The next one, then the one before, since it is the last; then there is none.
    let delete = |index: usize| format!("Delete job {}", ids[index]);
    tab_to(&page, &delete(1));
    for (index, next) in [(1, Some(2)), (2, Some(0)), (0, None)] {
        assert_eq!(page.focused(), delete(index));
        page.keys(&[key::ENTER]);
        page.press_in_dialog("Delete the job");
        page.until_closed();
        page.until(&format!("{} === null", found(index)));
        if let Some(next) = next {
            page.until(&format!("document.activeElement.ariaLabel === '{}'", delete(next)));
        }
    }
    page.until("document.activeElement.id === 'main'");
}

/// Which text stands out too little from what is behind it: WCAG 2, 1.4.3.
const FAINT: &str = "
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => {
        const parts = [r, g, b].map((part) => {
            const s = part / 255;
            return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const color = numbers(getComputedStyle(e).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility() || element.disabled) continue;
        const [a, b] = [numbers(getComputedStyle(element).color), behind(element)].map(luminance);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(`${element.textContent.slice(0, 40)}: ${contrast}`);
    }
    return faint";

#[test]
fn every_text_stands_out_in_light_and_in_dark() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&serde_json::json!({}));
    let (worker, _) = super::failures::worker();
    queue.push(&serde_json::json!({ "url": worker.url("/"), "payload": "no" }));
    queue.failures(1);
    let page = Page::open(node.address(), "");
    for (theme, background) in [("light", "rgb(246, 246, 244)"), ("dark", "rgb(22, 23, 26)")] {
        // One by the system, one by choice.
        page.prefer("light");
        while page.text("//button[@id='theme']") != format!("Theme: {theme}") {
            page.click("//button[@id='theme']");
        }
        let color = "return getComputedStyle(document.body).backgroundColor";
        assert_eq!(page.script(color), background, "{theme}");
        for hash in [format!("#/queue/{}/failed", queue.name), "#/job".into(), "#/node".into()] {
            page.go(&hash);
            page.until("document.querySelector('tbody tr, form.card') !== null");
            assert_eq!(page.script(FAINT), serde_json::json!([]), "{theme} {hash}");
        }
        page.go("#/queues");
        page.until_row_shows(&queue.name, "this node");
        assert_eq!(page.script(FAINT), serde_json::json!([]), "{theme}");
        page.press("New queue");
        page.press_in_dialog("Create");
        page.until("document.querySelector('[name=name][aria-invalid]') !== null");
        assert_eq!(page.script(FAINT), serde_json::json!([]), "{theme}");
        page.press_in_dialog("Cancel");
    }
    // The choice is remembered; without one the system decides.
    page.script("location.reload()");
    page.until("document.documentElement.dataset.theme === 'dark'");
    page.click("//button[@id='theme']");
    page.prefer("dark");
    page.until("getComputedStyle(document.body).backgroundColor === 'rgb(22, 23, 26)'");
    page.prefer("light");
    page.until("getComputedStyle(document.body).backgroundColor === 'rgb(246, 246, 244)'");
}
