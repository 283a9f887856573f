//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestConsole uses the console as a person does: with a wrong key, then with the right one, following a room and publishing.
func TestConsole(t *testing.T) {
	d := startDaemon(t)
	n := startNode(t, "subscriber.mjs", d.url(), `{"package": "socket.io-client", "rooms": ["lobby", "orders/17"]}`)
	n.waitEvent("roomJoined", 2)
	other := dialRaw(t, d, "")
	other.subscribe("lobby")

	b := startBrowser(t)
	b.open("p", d.url()+"/") // the front door shows a browser to the console
	enterKey(b, "not the key")
	waitPage(t, b, "#key-problem", "has no spaces")
	enterKey(b, "wrong")
	waitPage(t, b, "#key-problem", "does not accept this key")
	checkAccess(t, b, "the key is asked for")
	if !b.truth("p", `document.querySelector("#console").hidden && sessionStorage.length === 0`) {
		t.Error("the console opens with a wrong key, or keeps it")
	}
	enterKey(b, d.key)
	waitPage(t, b, "#state", "ready")
	waitPage(t, b, "#clients", "2")
	waitPage(t, b, "#room-count", "2")
	waitPage(t, b, "#nodes", "this node\n2 clients")
	waitPage(t, b, "#rooms", "lobby\n2\norders/17\n1")
	waitPage(t, b, "#rate", "0")
	b.evaluate("p", `document.querySelector("#search").value = "RDERS"; document.querySelector("#search").dispatchEvent(new Event("input"))`)
	waitPage(t, b, "#rooms-note", "1 of 2")
	if got := b.text("p", "#rooms"); strings.Contains(got, "lobby") {
		t.Errorf("a search for RDERS finds %q", got)
	}

	// A room that is followed shows what there was, and what comes.
	if err := d.publish("orders/17", map[string]any{"text": "before"}); err != nil {
		t.Fatal(err)
	}
	b.evaluate("p", `document.querySelector("#rooms button").click()`)
	waitPage(t, b, "#tail-state", "following orders/17")
	waitPage(t, b, "#messages", `"before"`)
	for _, text := range []string{"<img src=x onerror=alert(1)>", "Zażółć 🧶"} {
		if err := d.publish("orders/17", map[string]any{"text": text}); err != nil {
			t.Fatal(err)
		}
		waitPage(t, b, "#messages li", text)
	}
	if err := d.publish("lobby", map[string]any{"text": "elsewhere"}); err != nil {
		t.Fatal(err)
	}

	// What is published in the page reaches a client: as the original API does it, and as it is, to the last digit.
	fill(b, map[string]string{"#to": "orders/17", "#event": "message", "#data": `{"text": "from the page"}`})
	waitPage(t, b, "#data-note", "timestamp are added")
	b.evaluate("p", `document.querySelector("#publish button").click()`)
	waitPage(t, b, "#published", "sent to orders/17")
	waitPage(t, b, "#messages li", "from the page")
	fill(b, map[string]string{"#event": "price", "#data": `[12345678901234567890, null]`})
	waitPage(t, b, "#data-note", "Sent as it is")
	b.evaluate("p", `document.querySelector("#publish button").click()`)
	waitPage(t, b, "#messages li", "12345678901234567890")
	waitPage(t, b, "#messages li", "price")
	n.waitEvent("message", 5)
	if price := n.waitEvent("price", 1); string(price[1]) != `[12345678901234567000,null]` { // as Node rounds it
		t.Errorf("the client gets %s", price)
	}
	var last struct{ Text, Room string }
	if err := json.Unmarshal(n.events("message")[4][1], &last); err != nil || last.Text != "from the page" || last.Room != "orders/17" {
		t.Errorf("the client gets %+v, %v", last, err)
	}
	if got := b.text("p", "#messages"); strings.Contains(got, "elsewhere") {
		t.Errorf("a message of another room is shown: %q", got)
	}
	fill(b, map[string]string{"#data": `{"text": `})
	b.evaluate("p", `document.querySelector("#publish button").click()`)
	waitPage(t, b, "#publish-problem", "not JSON")

	// Paused, it holds back; going on, it catches up.
	b.evaluate("p", `document.querySelector("#pause").click()`)
	if err := d.publish("orders/17", map[string]any{"text": "held back"}); err != nil {
		t.Fatal(err)
	}
	waitPage(t, b, "#pause", "Resume (1)")
	if got := b.text("p", "#messages"); strings.Contains(got, "held back") {
		t.Errorf("a paused list shows %q", got)
	}
	b.evaluate("p", `document.querySelector("#pause").click()`)
	waitPage(t, b, "#messages li", "held back")
	if got := b.texts("p", "#messages li"); len(got) != 6 {
		t.Errorf("the list has %q, want 6 messages", got)
	}

	checkAccess(t, b, "all is shown")
	checkSecrets(t, b, d.key)

	b.reload("p") // the tab still has the key
	waitPage(t, b, "#clients", "2")
	b.evaluate("p", `document.querySelector("#leave").click()`)
	if !b.truth("p", `document.querySelector("#console").hidden && !document.querySelector("#gate").hidden && sessionStorage.length === 0 && !document.body.innerText.includes("held back")`) {
		t.Error("the key is not forgotten")
	}
	complaints := b.console("p")
	if len(complaints) != 1 || !strings.Contains(complaints[0], "401") { // Chromium's own word on the wrong key
		t.Errorf("the console of the browser has %q", complaints)
	}
}

// TestConsoleReconnects: a tail outlives the daemon, and goes on where it was.
func TestConsoleReconnects(t *testing.T) {
	d := launch(t, t.TempDir())
	b := startBrowser(t)
	b.open("p", d.url()+"/console/")
	enterKey(b, d.key)
	waitPage(t, b, "#state", "ready") // before that there is no room to follow
	fill(b, map[string]string{"#room": "r"})
	b.evaluate("p", `document.querySelector("#follow button").click()`)
	waitPage(t, b, "#tail-state", "following r")
	say := func(text string) {
		t.Helper()
		if err := d.publish("r", map[string]any{"text": text}); err != nil {
			t.Fatal(err)
		}
		waitPage(t, b, "#messages", text)
	}
	say("first")
	d.stop() // it does not wait for the tail to end by itself
	waitPage(t, b, "#tail-state", "trying again")
	waitPage(t, b, "#state", "unreachable")
	d = d.again()
	waitPage(t, b, "#tail-state", "following r")
	waitPage(t, b, "#state", "ready")
	say("second")
	if got := b.texts("p", "#messages li"); len(got) != 2 {
		t.Errorf("the list has %q, want each message once", got)
	}
	// A key that is taken back is asked for again.
	d.stop()
	d.args = append(d.args, "--api-key", "another")
	d = d.again()
	waitPage(t, b, "#key-problem", "not accept")
	d.stop()
}

// TestFrontDoor: what is no browser gets the original's answer, whatever it accepts.
func TestFrontDoor(t *testing.T) {
	d := startDaemon(t)
	for _, accept := range []string{"", "*/*", "text/plain", "text/html;q=0, */*", "text/plain, text/html;q=0.5", "application/json"} {
		response, text := d.do(t, "GET", "/", http.Header{"Accept": {accept}}, nil)
		if response.StatusCode != 201 || text != "ok" {
			t.Errorf("Accept: %s: %s %q", accept, response.Status, text)
		}
	}
}

func enterKey(b *browser, key string) {
	b.t.Helper()
	eventually(b.t, "the key can be entered", func() bool { return b.truth("p", `!document.querySelector("#gate").hidden`) })
	fill(b, map[string]string{"#key": key})
	b.evaluate("p", `document.querySelector("#enter button").click()`)
}

// fill types into fields of the page.
func fill(b *browser, fields map[string]string) {
	b.t.Helper()
	for selector, value := range fields {
		quoted, _ := json.Marshal([]string{selector, value})
		b.evaluate("p", fmt.Sprintf(`(([selector, value]) => {
			const field = document.querySelector(selector);
			field.value = value;
			field.dispatchEvent(new Event("input", { bubbles: true }));
		})(%s)`, quoted))
	}
}

// waitPage waits until an element, or the first of several, has the text in it.
func waitPage(t *testing.T, b *browser, selector, want string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("%s shows %q, want %q", selector, got, want)
		}
	}()
	eventually(t, selector+" shows "+want, func() bool {
		if b.truth("p", fmt.Sprintf(`document.querySelector(%q) !== null`, selector)) {
			got = b.text("p", selector)
		}
		return strings.Contains(got, want)
	})
}

func (b *browser) truth(page, script string) (yes bool) {
	b.t.Helper()
	b.do(map[string]any{"do": "evaluate", "page": page, "script": script}, &yes)
	return yes
}

// texts returns the text of each element that matches the selector.
func (b *browser) texts(page, selector string) (all []string) {
	b.t.Helper()
	b.do(map[string]any{"do": "evaluate", "page": page, "script": fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.innerText)`, selector)}, &all)
	return all
}

// checkSecrets looks for the key where others could find it.
func checkSecrets(t *testing.T, b *browser, key string) {
	t.Helper()
	var found []string
	b.do(map[string]any{"do": "evaluate", "page": "p", "script": fmt.Sprintf(`((key) => Object.entries({
		address: location.href, cookies: document.cookie, "local storage": JSON.stringify(localStorage),
		requests: performance.getEntries().map((e) => e.name).join(" "), page: document.documentElement.outerHTML,
	}).filter(([, text]) => text.includes(key)).map(([where]) => where))(%q)`, key)}, &found)
	if len(found) > 0 {
		t.Errorf("the key is in the page's %q", found)
	}
}
