//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fetchTwinejs puts twine.js and its types, as a daemon serves them, into a folder.
func fetchTwinejs(t *testing.T) (folder string) {
	t.Helper()
	d := startDaemon(t)
	folder = t.TempDir()
	for _, name := range []string{"twine.js", "twine.d.ts"} {
		response, text := d.do(t, "GET", "/"+name, nil, nil)
		if response.StatusCode != 200 {
			t.Fatalf("%s: %s", name, response.Status)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestTwinejsTypes compiles a program against the declarations.
func TestTwinejsTypes(t *testing.T) {
	t.Parallel()
	folder := fetchTwinejs(t)
	program := filepath.Join(folder, "use.ts")
	if err := os.WriteFile(program, []byte(readTwineFile(t, "use.ts")), 0o600); err != nil {
		t.Fatal(err)
	}
	compile := func() string {
		out, err := exec.Command("node", filepath.Join(jsFolder, "node_modules/typescript/bin/tsc"), "--noEmit", "--strict",
			"--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--lib", "es2022,dom", program).CombinedOutput()
		if err != nil {
			return string(out) + err.Error()
		}
		return ""
	}
	if problem := compile(); problem != "" {
		t.Error(problem)
	}
	// The compiler does look.
	if err := os.WriteFile(program, []byte(readTwineFile(t, "use.ts")+"twine.subscribe({});\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if problem := compile(); !strings.Contains(problem, "TS2") {
		t.Errorf("a wrong program compiles: %s", problem)
	}
}

// TestTwinejsMembers compares the declared members with those that there are.
func TestTwinejsMembers(t *testing.T) {
	t.Parallel()
	folder := fetchTwinejs(t)
	script := exec.Command("node", "--input-type=module", "-e", `
import * as all from "./twine.js";
console.log("exports " + Object.keys(all));
console.log(Object.getOwnPropertyNames(all.default.prototype).join("\n"));`)
	script.Dir = folder
	// Node takes twine.js for a module if the folder says so.
	if err := os.WriteFile(filepath.Join(folder, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if lines[0] != "exports default" {
		t.Error(lines[0])
	}
	there := lines[1:]
	declarations, err := os.ReadFile(filepath.Join(folder, "twine.d.ts"))
	if err != nil {
		t.Fatal(err)
	}
	_, class, found := strings.Cut(string(declarations), "export default class Twine {")
	if !found {
		t.Fatal("the class is not declared")
	}
	var declared []string
	for _, m := range regexp.MustCompile(`(?m)^  (?:readonly )?(\w+)[(:]`).FindAllStringSubmatch(class, -1) {
		declared = append(declared, m[1])
	}
	slices.Sort(there)
	slices.Sort(declared)
	if declared = slices.Compact(declared); !slices.Equal(there, declared) {
		t.Errorf("there are %q\ndeclared are %q", there, declared)
	}
}
