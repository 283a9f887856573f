//go:build e2e && linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// browser is Chromium with the page in it.
type browser struct {
	t       *testing.T
	stdin   io.Writer
	answers chan browserLine
}

type browserLine struct {
	Answer         json.RawMessage
	Error, Console *string
}

// openPage ends with the test.
func openPage(t *testing.T, url string) *browser {
	t.Helper()
	driver := exec.Command("node", "browser.mjs")
	driver.Dir = filepath.Dir(modules)
	driver.Stderr = os.Stderr
	stdin, err := driver.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := driver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, stdin: stdin, answers: make(chan browserLine, 1)}
	go func() {
		defer close(b.answers)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var line browserLine
			switch err := json.Unmarshal(lines.Bytes(), &line); {
			case err != nil:
				t.Errorf("the browser's driver wrote %q", lines.Text())
			case line.Console != nil:
				t.Errorf("the page's console has %q", *line.Console)
			default:
				b.answers <- line
			}
		}
	}()
	t.Cleanup(func() {
		stdin.Close() // its end is the browser's
		for range b.answers {
		}
		if err := driver.Wait(); err != nil {
			t.Error(err)
		}
	})
	b.do(map[string]string{"do": "open", "page": "p", "url": url}, nil)
	return b
}

// do gives the browser a command. Its answer goes into the value, unless that is nil.
func (b *browser) do(command map[string]string, value any) {
	b.t.Helper()
	text, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.stdin.Write(append(text, '\n')); err != nil {
		b.t.Fatal(err)
	}
	line, ok := <-b.answers
	switch {
	case !ok:
		b.t.Fatal("the browser has ended")
	case line.Error != nil:
		b.t.Fatalf("%v: %s", command, *line.Error)
	case value != nil:
		if err := json.Unmarshal(line.Answer, value); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *browser) evaluate(script string, value any) {
	b.t.Helper()
	b.do(map[string]string{"do": "evaluate", "page": "p", "script": script}, value)
}

// pane is what a pane shows.
type pane struct {
	Name, Status string
	Lines        [][2]string // text, and which server it came through
}

func (b *browser) panes() (panes []pane) {
	b.t.Helper()
	b.evaluate(`[...document.querySelectorAll("section")].map((s) => ({
		name: s.querySelector("h2").textContent,
		status: s.querySelector(".status").textContent,
		lines: [...s.querySelectorAll("li")].map((li) => [li.firstChild.textContent, li.querySelector("small").textContent]),
	}))`, &panes)
	return panes
}

// checkPage: what is sent in one pane appears in all of them.
func (e *example) checkPage() {
	e.t.Helper()
	b := openPage(e.t, e.page)
	names := []string{"twined-1", "twined-2", "Node"}
	eventually(e.t, "three panes have joined", func() bool {
		joined := 0
		for i, p := range b.panes() {
			if p.Name == names[i] && p.Status == "in lobby" {
				joined++
			}
		}
		return joined == len(names)
	})
	var want [][2]string
	for i, name := range names {
		text := "<i>from the pane of " + name
		want = append(want, [2]string{text, name})
		b.evaluate(fmt.Sprintf(`(() => {
			const form = document.querySelectorAll("form")[%d];
			form.elements.text.value = %q;
			form.requestSubmit();
		})()`, i, text), nil)
	}
	eventually(e.t, "every pane shows what was sent in all", func() bool {
		for _, p := range b.panes() {
			for _, line := range want {
				if !slices.Contains(p.Lines, line) {
					return false
				}
			}
			if !slices.ContainsFunc(p.Lines, func(line [2]string) bool { return line[1] == "Node" && strings.HasPrefix(line[0], "tick ") }) {
				return false
			}
		}
		return true
	})
	for _, p := range b.panes() {
		seen := map[[2]string]bool{}
		for _, line := range p.Lines {
			if seen[line] {
				e.t.Errorf("the pane of %s shows %q twice", p.Name, line)
			}
			seen[line] = true
		}
	}
	var problem string
	if b.evaluate(`document.querySelector("#problem").textContent`, &problem); problem != "" {
		e.t.Errorf("the page complains: %s", problem)
	}
	b.do(map[string]string{"do": "close", "page": "p"}, nil) // before its servers end
}
