package migratenode

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTextIsThisCode: what MIGRATING.md shows in Go is in this folder's examples, which the compiler has seen.
func TestTextIsThisCode(t *testing.T) {
	text, err := os.ReadFile("../../twine/MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(snippets) < 10 {
		t.Errorf("only %d snippets found", len(snippets))
	}
	for _, snippet := range snippets {
		if !strings.Contains(flat(string(code)), flat(snippet[1])) {
			t.Errorf("not in example_test.go:\n%s", snippet[1])
		}
	}
}

// flat is code without its indentation.
func flat(code string) string {
	lines := strings.Split(code, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}
