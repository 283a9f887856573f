package deploy

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile's.
type instruction struct{ name, rest string }

// dockerfile is the Dockerfile of twined.
type dockerfile struct {
	stages      [][]instruction // each begins with its FROM
	healthcheck []any           // the command
	variables   map[string]any  // of the last stage
}

func (d *dockerfile) final() []instruction { return d.stages[len(d.stages)-1] }

// one returns the only instruction of that name in the last stage.
func (d *dockerfile) one(t *testing.T, name string) string {
	t.Helper()
	var found []string
	for _, i := range d.final() {
		if i.name == name {
			found = append(found, i.rest)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s: %q", name, found)
	}
	return found[0]
}

func readDockerfile(t *testing.T) *dockerfile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(daemonFolder, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerfile{variables: map[string]any{}}
	for _, i := range instructions(t, string(text)) {
		if i.name == "FROM" {
			d.stages = append(d.stages, nil)
			d.variables = map[string]any{}
		}
		if len(d.stages) == 0 {
			t.Fatalf("%s comes before FROM", i.name)
		}
		last := len(d.stages) - 1
		d.stages[last] = append(d.stages[last], i)
		switch i.name {
		case "ENV":
			for _, pair := range strings.Fields(i.rest) {
				name, value, _ := strings.Cut(pair, "=")
				d.variables[name] = value
			}
		case "HEALTHCHECK":
			_, command, found := strings.Cut(i.rest, "CMD ")
			if err := json.Unmarshal([]byte(command), &d.healthcheck); !found || err != nil {
				t.Fatalf("HEALTHCHECK %s: %v", i.rest, err)
			}
		}
	}
	return d
}

// instructions takes a Dockerfile apart: comments go, and lines that end with a backslash are joined.
func instructions(t *testing.T, text string) (list []instruction) {
	t.Helper()
	known := []string{"FROM", "WORKDIR", "COPY", "RUN", "ARG", "USER", "ENV", "EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "LABEL"}
	var joined string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if before, goesOn := strings.CutSuffix(line, `\`); goesOn {
			joined += strings.TrimSpace(before) + " "
			continue
		}
		name, rest, _ := strings.Cut(joined+line, " ")
		joined = ""
		if !slices.Contains(known, name) {
			t.Fatalf("unexpected instruction %s", name) // ADD is none of them: it would take files from anywhere
		}
		list = append(list, instruction{name, strings.TrimSpace(rest)})
	}
	if joined != "" {
		t.Fatal("the last line goes on")
	}
	return list
}

func TestImageHasNoRoot(t *testing.T) {
	d := readDockerfile(t)
	if base := d.final()[0].rest; base != "scratch" {
		t.Errorf("the image is built on %s", base)
	}
	user := d.one(t, "USER")
	if found := regexp.MustCompile(`^([0-9]+):([0-9]+)$`).FindStringSubmatch(user); found == nil || found[1] == "0" || found[2] == "0" {
		t.Errorf("USER %s", user)
	}
	for _, i := range d.final() {
		if i.name == "RUN" {
			t.Errorf("RUN %s: there is no shell", i.rest)
		}
		if i.name == "COPY" && (!strings.Contains(i.rest, "--from=build ") || strings.Contains(i.rest, "://")) {
			t.Errorf("COPY %s", i.rest)
		}
	}
	if volume := d.one(t, "VOLUME"); d.variables["TWINE_DATA_DIR"] != volume || !slices.ContainsFunc(d.final(), func(i instruction) bool {
		return i.name == "COPY" && strings.Contains(i.rest, "--chown="+user+" ") && strings.HasSuffix(i.rest, " "+volume)
	}) {
		t.Errorf("the data folder %s is not the user's", volume)
	}
}

func TestImageIsTheDaemon(t *testing.T) {
	d := readDockerfile(t)
	checkEnvironment(t, "Dockerfile", d.variables)
	var entry []string
	if err := json.Unmarshal([]byte(d.one(t, "ENTRYPOINT")), &entry); err != nil || len(entry) != 1 {
		t.Fatalf("ENTRYPOINT %s: %v", d.one(t, "ENTRYPOINT"), err)
	}
	if len(d.healthcheck) != 2 || d.healthcheck[0] != entry[0] || d.healthcheck[1] != "healthcheck" {
		t.Errorf("HEALTHCHECK %q", d.healthcheck)
	}
	if !slices.ContainsFunc(d.final(), func(i instruction) bool { return i.name == "COPY" && strings.HasSuffix(i.rest, " "+entry[0]) }) {
		t.Errorf("nothing is copied to %s", entry[0])
	}
	certificates := "/etc/ssl/certs/ca-certificates.crt" // one of the places where Go looks
	if !slices.ContainsFunc(d.final(), func(i instruction) bool { return i.name == "COPY" && strings.HasSuffix(i.rest, " "+certificates) }) {
		t.Error("there are no certificates: AWS cannot be reached")
	}
	if port := strconv.Itoa(defaultPort(t)); d.one(t, "EXPOSE") != port || d.variables["TWINE_LISTEN"] != "0.0.0.0:"+port {
		t.Errorf("EXPOSE %s, TWINE_LISTEN %v", d.one(t, "EXPOSE"), d.variables["TWINE_LISTEN"])
	}
	if signal := d.one(t, "STOPSIGNAL"); signal != "SIGTERM" {
		t.Errorf("STOPSIGNAL %s", signal)
	}
}

// The Go that compiles is not older than the one that go.mod asks for: the image would have to download another.
func TestImageHasTheRightGo(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(text)
	base := regexp.MustCompile(`golang:(\d+\.\d+)-`).FindStringSubmatch(readDockerfile(t).stages[0][0].rest)
	if wanted == nil || base == nil || string(wanted[1]) != base[1] {
		t.Errorf("go.mod asks for %q, the image has %q", wanted, base)
	}
}

// buildContext tells whether a file of the repository reaches the build.
func buildContext(t *testing.T) func(file string) bool {
	t.Helper()
	text, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	return func(file string) bool {
		taken := true
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			pattern, again := strings.CutPrefix(line, "!")
			if ignores(t, pattern, file) {
				taken = again
			}
		}
		return taken
	}
}

// ignores tells whether a pattern of .dockerignore matches a file or a folder that it is in.
func ignores(t *testing.T, pattern, file string) bool {
	t.Helper()
	anywhere, isAnywhere := strings.CutPrefix(pattern, "**/")
	parts := strings.Split(file, "/")
	for i := range parts {
		name := path.Join(parts[:i+1]...)
		if isAnywhere {
			pattern, name = anywhere, parts[i]
		}
		matched, err := path.Match(pattern, name)
		if err != nil {
			t.Fatal(err)
		}
		if matched {
			return true
		}
	}
	return false
}

func TestBuildContext(t *testing.T) {
	taken := buildContext(t)
	for file, want := range map[string]bool{
		"go.mod": true, "cmd/twined/main.go": true, "cmd/twined/internal/clientjs/twine.js": true, "twine/server.go": true,
		"recovery/dynamodb/table.go": true, "adapter/adapter.go": true,
		"twine-data/api-key": false, "cmd/twined/twine-data/twine.db": false, ".git/config": false, "cmd/twined/main_test.go": false,
		"testdata/js/node_modules/x/index.js": false, "README.md": false, "examples/deploy/README.md": false,
	} {
		if taken(file) != want {
			t.Errorf("%s: taken %v, want %v", file, !want, want)
		}
	}
}
