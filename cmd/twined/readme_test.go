package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns what a Markdown text has below a heading, up to the next one of that level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("there is no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// setting is a field of config.Config, as kong reads its tags.
type setting struct{ flag, env, def string }

func settings() []setting {
	var all []setting
	capital := regexp.MustCompile(`([a-z])([A-Z])`)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		s := setting{flag: field.Tag.Get("name"), env: field.Tag.Get("env"), def: field.Tag.Get("default")}
		if s.flag == "" {
			name := strings.NewReplacer("API", "Api", "CORS", "Cors").Replace(field.Name)
			s.flag = strings.ToLower(capital.ReplaceAllString(name, "$1-$2"))
		}
		if s.flag != "version" {
			all = append(all, s)
		}
	}
	return all
}

// help is what a command prints about itself.
func help(t *testing.T, command string) string {
	t.Helper()
	var text bytes.Buffer
	var err error
	if command == "" {
		_, _, err = config.Parse([]string{"--help"}, "test", &text, io.Discard)
	} else {
		err = commands[command](t.Context(), []string{"--help"}, strings.NewReader(""), &text, io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestReferenceHasEverySetting: flag, environment and default, in one row each.
func TestReferenceHasEverySetting(t *testing.T) {
	rows := strings.Split(section(t, read(t, "README.md"), "Settings"), "\n")
	for _, s := range settings() {
		i := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(row, "| `--"+s.flag+"`") })
		switch {
		case i < 0:
			t.Errorf("--%s has no row", s.flag)
		case !strings.Contains(rows[i], "`"+s.env+"`"):
			t.Errorf("the row of --%s lacks %s", s.flag, s.env)
		case s.def != "" && !strings.Contains(rows[i], "| `"+s.def+"`"):
			t.Errorf("the row of --%s lacks its default, %s", s.flag, s.def)
		}
	}
}

// TestReadmesNameNothingUnknown looks at flags and variables wherever they stand.
func TestReadmesNameNothingUnknown(t *testing.T) {
	flag, variable := regexp.MustCompile("[`\\s(]--?([a-z][a-z-]+)"), regexp.MustCompile(`TWINE_[A-Z_]+`)
	flags, variables := map[string]bool{}, map[string]bool{}
	for _, command := range []string{"", "publish", "healthcheck"} {
		text := help(t, command)
		for _, found := range flag.FindAllStringSubmatch(text, -1) {
			flags[found[1]] = true
		}
		for _, name := range variable.FindAllString(text, -1) {
			variables[name] = true
		}
	}
	for _, s := range settings() {
		if !flags[s.flag] || !variables[s.env] {
			t.Errorf("--help does not know --%s, %s", s.flag, s.env)
		}
	}
	text := read(t, "README.md")
	for _, found := range regexp.MustCompile("[`\\s]--([a-z][a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !flags[found[1]] {
			t.Errorf("README.md: there is no --%s", found[1])
		}
	}
	for _, path := range []string{"README.md", "../../README.md"} {
		for _, name := range variable.FindAllString(read(t, path), -1) {
			if !variables[name] {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
	}
	// The other way round: the flags of the commands.
	commandsText := section(t, text, "Commands")
	for _, command := range []string{"publish", "healthcheck"} {
		for _, found := range regexp.MustCompile(`(?m)^ +--?([a-z][a-z-]+)`).FindAllStringSubmatch(help(t, command), -1) {
			if !strings.Contains(commandsText, "`--"+found[1]+"`") {
				t.Errorf("README.md lacks --%s of twined %s", found[1], command)
			}
		}
	}
}

// TestReferenceHasEveryPath of the OpenAPI document, which is checked against the handlers.
func TestReferenceHasEveryPath(t *testing.T) {
	text := read(t, "README.md")
	paths := regexp.MustCompile(`(?m)^  (/[^:]+):$`).FindAllStringSubmatch(read(t, "internal/openapi/openapi.yaml"), -1)
	if len(paths) < 10 {
		t.Fatalf("only %d paths found", len(paths))
	}
	for _, path := range paths {
		if !strings.Contains(text, " "+path[1]+"`") && !strings.Contains(text, " "+path[1]+" ") {
			t.Errorf("%s is missing", path[1])
		}
	}
}

// TestReadmesLinkToWhatIsThere: files, and headings in them.
func TestReadmesLinkToWhatIsThere(t *testing.T) {
	const top = "../.."
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	for _, path := range []string{"README.md", "cmd/twined/README.md", "examples/README.md", "twine/MIGRATING.md"} {
		text := read(t, filepath.Join(top, path))
		text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target := found[1] + found[2]
			if strings.Contains(target, "://") {
				continue
			}
			file, heading, _ := strings.Cut(target, "#")
			full := filepath.Join(top, filepath.Dir(path), file)
			if file == "" {
				full = filepath.Join(top, path)
			}
			if _, err := os.Stat(full); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if heading != "" && !slices.Contains(headings(read(t, full)), heading) {
				t.Errorf("%s: %s has no heading %s", path, full, heading)
			}
		}
	}
}

// headings returns the anchors of a Markdown text's headings.
func headings(text string) (anchors []string) {
	unwanted := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			title = unwanted.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors = append(anchors, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return anchors
}
