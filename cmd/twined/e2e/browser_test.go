//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// browser is a Chromium driven by browser.mjs.
type browser struct {
	*node
	seen int // lines read for answers
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	t.Setenv("CHROMIUM", chromium())
	return &browser{node: startNode(t, "browser.mjs")}
}

// do sends a command and decodes its answer into v, unless that is nil.
func (b *browser) do(command map[string]any, v any) {
	b.t.Helper()
	b.send(command)
	var reply struct {
		Answer json.RawMessage
		Error  string
	}
	line := b.stdout.waitFor(b.t, b.seen, "the browser answers", func(line string) bool {
		b.seen++
		return strings.HasPrefix(line, `{"answer":`) || strings.HasPrefix(line, `{"error":`)
	})
	if err := json.Unmarshal([]byte(line), &reply); err != nil {
		b.t.Fatal(err)
	}
	if reply.Error != "" {
		b.t.Fatalf("%v: %s", command, reply.Error)
	}
	if v != nil {
		if err := json.Unmarshal(reply.Answer, v); err != nil {
			b.t.Fatalf("%v: %v in %s", command, err, reply.Answer)
		}
	}
}

func (b *browser) open(page, url string) {
	b.t.Helper()
	b.do(map[string]any{"do": "open", "page": page, "url": url}, nil)
}

// openTab opens a page beside the others of a profile, with the same cookies.
func (b *browser) openTab(page, profile, url string) {
	b.t.Helper()
	b.do(map[string]any{"do": "open", "page": page, "profile": profile, "url": url}, nil)
}

func (b *browser) reload(page string) {
	b.t.Helper()
	b.do(map[string]any{"do": "reload", "page": page}, nil)
}

func (b *browser) close(page string) {
	b.t.Helper()
	b.do(map[string]any{"do": "close", "page": page}, nil)
}

// evaluate runs a script in a page.
func (b *browser) evaluate(page, script string) {
	b.t.Helper()
	b.do(map[string]any{"do": "evaluate", "page": page, "script": script}, nil)
}

// text returns the text of the first element that matches the selector.
func (b *browser) text(page, selector string) (text string) {
	b.t.Helper()
	quoted, _ := json.Marshal(selector)
	b.do(map[string]any{"do": "evaluate", "page": page, "script": "document.querySelector(" + string(quoted) + ").innerText"}, &text)
	return text
}

// console returns what a page has written to its console.
func (b *browser) console(page string) (text []string) {
	for _, line := range b.stdout.from(0) {
		var said struct{ Page, Console string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Page == page {
			text = append(text, said.Console)
		}
	}
	return text
}
