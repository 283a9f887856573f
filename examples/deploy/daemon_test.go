package deploy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const daemonFolder = "../../cmd/twined"

// setting is a flag of the daemon.
type setting struct {
	fallback string
	allowed  []string
	kind     string // its type in Go
}

// settings returns the daemon's flags by their environment variables. They are read from its source, as other packages
// cannot import it.
func settings(t *testing.T) map[string]setting {
	t.Helper()
	found := map[string]setting{}
	for _, file := range parseFolder(t, filepath.Join(daemonFolder, "internal/config")) {
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			tag := reflect.StructTag(text)
			for _, variable := range strings.Split(tag.Get("env"), ",") {
				s := setting{fallback: tag.Get("default"), kind: typeName(field.Type)}
				if enum := tag.Get("enum"); enum != "" {
					s.allowed = strings.Split(enum, ",")
				}
				if variable != "" {
					found[variable] = s
				}
			}
			return true
		})
	}
	if len(found) < 10 || found["TWINE_LISTEN"].fallback == "" {
		t.Fatalf("these are not the daemon's settings: %v", found)
	}
	return found
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	}
	return ""
}

func parseFolder(t *testing.T, folder string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("%s has no Go files", folder)
	}
	return files
}

// checkEnvironment checks variables that are set for the daemon. Values that only the deployment knows are nil.
func checkEnvironment(t *testing.T, where string, variables map[string]any) {
	t.Helper()
	known := settings(t)
	for variable, value := range variables {
		if !strings.HasPrefix(variable, "TWINE_") {
			continue
		}
		s, ok := known[variable]
		if !ok {
			t.Errorf("%s sets %s, which twined does not know", where, variable)
			continue
		}
		text, isText := value.(string)
		if !isText {
			continue
		}
		if s.kind == "time.Duration" {
			if _, err := time.ParseDuration(text); err != nil {
				t.Errorf("%s: %s: %v", where, variable, err)
			}
		}
		if s.allowed != nil && !contains(s.allowed, text) {
			t.Errorf("%s: %s is %q, and may be one of %q", where, variable, text, s.allowed)
		}
	}
}

func contains(list []string, text string) bool {
	for _, item := range list {
		if item == text {
			return true
		}
	}
	return false
}

// defaultPort is where the daemon listens that is not told otherwise.
func defaultPort(t *testing.T) int {
	t.Helper()
	return portOf(t, settings(t)["TWINE_LISTEN"].fallback)
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	port, err := strconv.Atoi(address[strings.LastIndex(address, ":")+1:])
	if err != nil {
		t.Fatalf("%q has no port: %v", address, err)
	}
	return port
}

func duration(t *testing.T, v any) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(fmt.Sprint(v))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// routes are what the daemon answers to, such as "GET /readyz".
func routes(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range parseFolder(t, filepath.Join(daemonFolder, "internal/server")) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			selector, isMethod := call.Fun.(*ast.SelectorExpr)
			pattern, isText := call.Args[0].(*ast.BasicLit)
			if isMethod && isText && pattern.Kind == token.STRING && (selector.Sel.Name == "Handle" || selector.Sel.Name == "HandleFunc") {
				text, err := strconv.Unquote(pattern.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[text] = true
			}
			return true
		})
	}
	return found
}

var product = regexp.MustCompile(`(?m)^\s*idleTimeout\s*=\s*(\d+) \* time\.(Second|Minute)$`)

// daemonIdleTimeout is how long the daemon keeps a connection on which nothing is asked.
func daemonIdleTimeout(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(daemonFolder, "internal/server/server.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := product.FindSubmatch(text)
	if found == nil {
		t.Fatal("the daemon's idleTimeout is not where it was")
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * map[string]time.Duration{"Second": time.Second, "Minute": time.Minute}[string(found[2])]
}
