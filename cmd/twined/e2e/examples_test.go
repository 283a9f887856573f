//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// startExample runs a program of the examples until the test ends, and returns the address in the line that begins with
// prefix.
func startExample(t *testing.T, name, prefix string, args ...string) (address string, out *lines) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", program, "github.com/twine-realtime/twine/examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	process := exec.Command(program, append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	out, log := collect(stdout), collect(stderr)
	t.Cleanup(func() {
		process.Process.Signal(syscall.SIGTERM)
		<-out.ended
		<-log.ended
		if err := process.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, log)
		}
	})
	line := out.waitWithin(t, buildPatience, 0, name+" is up", func(line string) bool { return strings.HasPrefix(line, prefix) })
	return strings.TrimSpace(strings.TrimPrefix(line, prefix)), out
}

func submit(b *browser, page, form, field, value string) {
	b.t.Helper()
	b.evaluate(page, fmt.Sprintf(`document.querySelector(%q).elements[%q].value = %q; document.querySelector(%q).requestSubmit()`, form, field, value, form))
}

func waitTrue(t *testing.T, b *browser, page, what, script string) {
	t.Helper()
	eventually(t, what, func() bool { return b.truth(page, script) })
}

func noComplaints(t *testing.T, b *browser, pages ...string) {
	t.Helper()
	for _, page := range pages {
		if said := b.console(page); len(said) > 0 {
			t.Errorf("%s's console has %q", page, said)
		}
	}
}

// TestExampleCursors has two people see each other's cursors.
func TestExampleCursors(t *testing.T) {
	address, _ := startExample(t, "cursors", "Cursors at ")
	b := startBrowser(t)
	for _, name := range []string{"Ada", "Bob"} {
		b.open(name, address)
		waitTrue(t, b, name, "the page is connected", `document.querySelector("#status").textContent === "connected"`)
		submit(b, name, "#join", "name", name)
		waitTrue(t, b, name, name+" is on the board", `document.activeElement?.id === "board"`)
	}
	waitTrue(t, b, "Ada", "Ada sees two", `document.querySelector("#status").textContent === "2 people"`)
	b.evaluate("Ada", `(() => {
		const board = document.querySelector("#board"), box = board.getBoundingClientRect();
		board.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 4, clientY: box.top + box.height / 2 }));
	})()`)
	waitTrue(t, b, "Bob", "Bob sees Ada's mouse", `document.querySelector("[data-name=Ada]").style.left === "25%"`)
	b.evaluate("Bob", `document.querySelector("#board").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp" }))`)
	waitTrue(t, b, "Ada", "Ada sees Bob's key", `document.querySelector("[data-name=Bob]").style.top === "48%"`)
	b.close("Bob")
	waitTrue(t, b, "Ada", "Bob's cursor is gone", `!document.querySelector("[data-name=Bob]")`)
	noComplaints(t, b, "Ada", "Bob")
}

// TestExampleLibrary has a guest order and the cook cook.
func TestExampleLibrary(t *testing.T) {
	address, _ := startExample(t, "library", "Orders at ", "-data", t.TempDir())
	b := startBrowser(t)
	for _, name := range []string{"Ada", "Bob", "cook"} {
		b.open(name, address)
		submit(b, name, "#login", "name", name)
		waitTrue(t, b, name, name+" is signed in", fmt.Sprintf(`document.querySelector("#status").textContent === "signed in as %s"`, name))
	}
	submit(b, "Ada", "#place", "dish", "<i>soup</i>")
	waitText(t, b, "Ada", "#orders", "1. <i>soup</i>, for Ada in the kitchen")
	waitText(t, b, "cook", "#orders", "1. <i>soup</i>, for Ada It is ready")
	b.evaluate("cook", `document.querySelector("#orders button").click()`)
	waitText(t, b, "cook", "#orders", "1. <i>soup</i>, for Ada ready")
	waitText(t, b, "Ada", "#orders", "1. <i>soup</i>, for Ada ready")
	if text := b.text("Bob", "#orders"); text != "" {
		t.Errorf("Bob sees %q", text)
	}
	noComplaints(t, b, "Ada", "Bob", "cook")
}

// TestExampleNodeBackend: a page of the original client library sees what Node publishes with the original server library.
func TestExampleNodeBackend(t *testing.T) {
	modules, err := filepath.Abs(filepath.Join(jsFolder, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	address, out := startExample(t, "nodebackend", "Courier at ", "-modules", modules)
	b := startBrowser(t)
	b.open("page", address)
	waitConsole(t, b, "page", "You have joined room: courier 7", 1)
	waitTrue(t, b, "page", "the page sees where the courier is", `document.querySelector("#news").textContent.includes("The courier is at ")`)
	b.evaluate("page", `document.querySelector("#ring").click()`)
	waitTrue(t, b, "page", "the ringing is seen", `document.querySelector("#news").textContent.includes("phone is ringing")`)
	out.waitFor(t, 0, "the library tells of success", func(line string) bool { return line == "publish status: 201" })
	for _, line := range out.from(0) {
		if !regexp.MustCompile(`^(Courier at http.*|publish status: 201)$`).MatchString(line) {
			t.Errorf("the backend wrote %q", line)
		}
	}
	for _, said := range b.console("page") {
		if said != "Connected to the Twine server" && said != "You have joined room: courier 7" {
			t.Errorf("the page's console has %q", said)
		}
	}
}
