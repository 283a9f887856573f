//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// maxScreenshot is how large a picture of the README may be, in bytes.
const maxScreenshot = 200_000

// screenshots is the folder for the pictures: of the README, if TWINE_SCREENSHOTS names its folder, and otherwise only to
// see that they can be taken.
func screenshots(t *testing.T) (folder string, forReadme bool) {
	if folder := os.Getenv("TWINE_SCREENSHOTS"); folder != "" {
		folder, err := filepath.Abs(folder)
		if err != nil {
			t.Fatal(err)
		}
		return folder, true
	}
	return t.TempDir(), false
}

// shoot takes a picture of a page of the given size.
func shoot(t *testing.T, b *browser, page, scheme, path string, width, height int) {
	t.Helper()
	b.do(map[string]any{"do": "emulate", "page": page, "width": width, "height": height, "scheme": scheme}, nil)
	b.evaluate(page, `document.getAnimations().forEach((a) => a.finish())`)
	b.do(map[string]any{"do": "screenshot", "page": page, "path": path}, nil)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size < 5_000 || size > maxScreenshot {
		t.Errorf("%s has %d bytes", path, size)
	}
}

// TestConsoleScreenshot shows the console of a daemon that is at work.
func TestConsoleScreenshot(t *testing.T) {
	folder, forReadme := screenshots(t)
	points := 2
	if forReadme {
		points = 40
	}
	d := startDaemon(t)
	for room, clients := range map[string]int{"lobby": 34, "orders/berlin": 17, "orders/lisbon": 12, "orders/osaka": 9, "news": 21, "match/4711": 26, "match/4712": 8,
		"support": 4, "drivers": 14, "kitchen": 6, "board/q3-plan": 3} {
		for range clients {
			dialRaw(t, d, "").subscribe(room)
		}
	}
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer close(stop)
	publishing.Go(func() { work(t, d, stop) })

	b := startBrowser(t)
	b.open("p", d.url())
	b.do(map[string]any{"do": "emulate", "page": "p", "width": 1280, "height": 800, "scheme": "light"}, nil)
	enterKey(b, d.key)
	waitPage(t, b, "#rooms", "lobby")
	b.evaluate("p", `[...document.querySelectorAll("#rooms button")].find((b) => b.dataset.room === "orders/berlin").click()`)
	fill(b, map[string]string{"#data": `{"order": 2209, "state": "on its way", "driver": "Amaia"}`})
	within(t, 3*time.Minute, "the line of messages a second is drawn", func() bool {
		return b.truth("p", fmt.Sprintf(`document.querySelector("#spark .line").getAttribute("d").split("L").length >= %d`, points))
	})
	within(t, patience, "there are messages to see", func() bool {
		return b.truth("p", `document.querySelectorAll("#messages li").length >= 8`)
	})
	shoot(t, b, "p", "light", filepath.Join(folder, "console.png"), 1280, 800)
	if !forReadme {
		shoot(t, b, "p", "dark", filepath.Join(folder, "console-dark.png"), 1280, 800)
		shoot(t, b, "p", "dark", filepath.Join(folder, "console-phone.png"), 390, 844)
	}
}

// work publishes now more, now less, until stop is closed.
func work(t *testing.T, d *daemon, stop <-chan struct{}) {
	states := []string{"received", "in the oven", "ready", "on its way", "delivered"}
	cities := []string{"berlin", "lisbon", "osaka"}
	began := time.Now()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	due := 0.0
	for n := 0; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		at := time.Since(began).Seconds()
		for due += 0.35 + 0.2*math.Sin(at/7) + 0.12*math.Sin(at/2.3); due >= 1; due-- {
			n++
			room, payload := "match/4711", any(map[string]any{"minute": n % 90, "home": n % 3, "away": n % 2})
			if n%9 == 0 {
				room, payload = "orders/"+cities[n/9%3], map[string]any{"order": 2100 + n/45, "state": states[n/27%5], "minutes": 40 - n%35}
			}
			if err := d.publish(room, payload); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// TestChatScreenshot shows the chat of the examples.
func TestChatScreenshot(t *testing.T) {
	folder, _ := screenshots(t)
	address := startChat(t)
	b := startBrowser(t)
	names := []string{"Ada", "Grace", "Linus"}
	for _, name := range names {
		b.open(name, address)
		b.evaluate(name, fmt.Sprintf(`document.querySelector("[name=name]").value = %q; document.querySelector("#join button").click()`, name))
		waitText(t, b, name, "#status", "in lobby as "+name)
	}
	for i, said := range []struct{ name, text string }{
		{"Ada", "Hello, anybody there?"},
		{"Grace", "Good evening! My train is in a tunnel, so expect silence now and then."},
		{"Linus", "Then you come back, and everything is there. I have tried it."},
		{"Ada", "Show me. I have just posted the plan for Friday."},
		{"Grace", "Back again, and I have it. Nothing is missing."},
	} {
		b.evaluate(said.name, fmt.Sprintf(`document.querySelector("[name=text]").value = %q; document.querySelector("#say button").click()`, said.text))
		eventually(t, "all have the line", func() bool {
			for _, name := range names {
				if len(b.texts(name, "#lines li:not(.note)")) <= i {
					return false
				}
			}
			return true
		})
	}
	b.evaluate("Grace", `document.querySelector("[name=text]").value = "See you on Friday!"`)
	shoot(t, b, "Grace", "light", filepath.Join(folder, "chat.png"), 960, 600)
}
