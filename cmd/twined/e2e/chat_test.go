//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestChat has two people chat in the example, as they would. CHAT_SCREENSHOT names a PNG to show one's window in.
func TestChat(t *testing.T) {
	address := startChat(t)
	b := startBrowser(t)
	people := []string{"Ada", "Grace"}
	for _, name := range people {
		b.open(name, address)
		b.evaluate(name, fmt.Sprintf(`document.querySelector("[name=name]").value = %q; document.querySelector("#join button").click()`, name))
		waitText(t, b, name, "#status", "in lobby as "+name)
		waitText(t, b, name, "#lines", "You have joined room: lobby")
	}
	conversation := []struct{ name, text string }{
		{"Ada", "Hello, anybody there?"},
		{"Grace", "Good evening! Zażółć gęślą jaźń 🧶"},
		{"Ada", "<b>not bold</b> & 'quoted'"},
	}
	want := "You have joined room: lobby"
	for _, said := range conversation {
		b.evaluate(said.name, fmt.Sprintf(`document.querySelector("[name=text]").value = %q; document.querySelector("#say button").click()`, said.text))
		want += "\n" + said.name + " " + said.text
		for _, name := range people {
			waitText(t, b, name, "#lines", want)
		}
	}
	for _, name := range people {
		if problem := b.text(name, "#problem"); problem != "" {
			t.Errorf("%s sees the problem %q", name, problem)
		}
		if said := b.console(name); len(said) > 0 {
			t.Errorf("%s's console has %q", name, said)
		}
	}
	if path := os.Getenv("CHAT_SCREENSHOT"); path != "" {
		b.do(map[string]any{"do": "screenshot", "page": "Grace", "path": path}, nil)
	}
}

func waitText(t *testing.T, b *browser, page, selector, want string) {
	t.Helper()
	// Between a name and a text there is a margin, which innerText does not show.
	squeeze := regexp.MustCompile(`\s+`)
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("%s shows %q, want %q", selector, got, want)
		}
	}()
	eventually(t, page+" sees "+want, func() bool {
		got = b.text(page, selector)
		return squeeze.ReplaceAllString(got, "") == squeeze.ReplaceAllString(want, "")
	})
}

// startChat runs the example until the test ends and returns the page's address.
func startChat(t *testing.T) (address string) {
	t.Helper()
	chat := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command("go", "build", "-o", chat, "github.com/twine-realtime/twine/examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	process := exec.Command(chat, "-listen", "127.0.0.1:0")
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
			t.Errorf("chat: %v\n%s", err, log)
		}
	})
	line := out.waitWithin(t, buildPatience, 0, "the chat is up", func(line string) bool { return strings.HasPrefix(line, "Chat at ") })
	return strings.Fields(line)[2]
}
