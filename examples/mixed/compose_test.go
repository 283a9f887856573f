package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const daemonFolder = "../../cmd/twined"

// service is as much of a service of compose.yaml as it has.
type service struct {
	Image           string
	Build           struct{ Context, Dockerfile string }
	User            string
	WorkingDir      string `yaml:"working_dir"`
	Command         []string
	Environment     map[string]string
	Volumes, Ports  []string
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	ReadOnly        bool                                  `yaml:"read_only"`
	CapDrop         []string                              `yaml:"cap_drop"`
	StopGracePeriod string                                `yaml:"stop_grace_period"`
	Healthcheck     *struct {
		Test              []string
		Interval, Timeout string
		StartPeriod       string `yaml:"start_period"`
		Retries           int
	}
}

func readServices(t *testing.T) map[string]service {
	t.Helper()
	file, err := os.Open("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var composition struct {
		Name     string
		Services map[string]service
	}
	if err := decoder.Decode(&composition); err != nil {
		t.Fatal(err)
	}
	return composition.Services
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// submatches returns what the group of a pattern stands for, wherever that is in a text.
func submatches(text, pattern string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

func TestCompose(t *testing.T) {
	services := readServices(t)
	images := map[string]string{}
	for name, s := range services {
		images[name] = s.Image
		for other, needs := range s.DependsOn {
			dependency, ok := services[other]
			if !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
			if needs.Condition == "service_healthy" && dependency.Healthcheck == nil {
				t.Errorf("%s waits until %s is healthy, which nobody checks", name, other)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s can be reached from outside, at %s", name, port)
			}
		}
	}
	if want := map[string]string{"redis": "redis:7", "twined-1": "twined", "twined-2": "twined", "node": "node:20"}; !maps.Equal(images, want) {
		t.Errorf("the images are %v", images)
	}
}

func TestComposeDaemons(t *testing.T) {
	services := readServices(t)
	known := submatches(read(t, filepath.Join(daemonFolder, "internal/config/config.go")), `env:"(TWINE_\w+)"`)
	if len(known) < 10 {
		t.Fatalf("these are not the daemon's settings: %q", known)
	}
	for name, s := range services {
		if s.Image != "twined" {
			continue
		}
		for variable := range s.Environment {
			if !slices.Contains(known, variable) {
				t.Errorf("%s: the daemon does not know %s", name, variable)
			}
		}
		if s.Environment["TWINE_API_KEY"] != services["node"].Environment["TWINE_API_KEY"] {
			t.Errorf("%s has another key than the server of Node publishes with", name)
		}
		drain, err := time.ParseDuration(s.Environment["TWINE_DRAIN"])
		grace, err2 := time.ParseDuration(s.StopGracePeriod)
		if err != nil || err2 != nil || grace <= drain {
			t.Errorf("%s drains for %s and is killed after %s: %v, %v", name, drain, grace, err, err2)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s may write, or has capabilities", name)
		}
	}
	build := services["twined-1"].Build
	if _, err := os.Stat(filepath.Join(build.Context, build.Dockerfile)); err != nil || build.Dockerfile == "" {
		t.Error(err)
	}
}

// What the server of Node is given is what it reads, and the other way round.
func TestComposeNode(t *testing.T) {
	node := readServices(t)["node"]
	given := map[string]bool{}
	for _, volume := range node.Volumes {
		from, to, _ := strings.Cut(volume, ":")
		if to != filepath.Join(node.WorkingDir, from)+":ro" {
			t.Errorf("%s goes to %s", from, to)
		}
		if _, err := os.Stat(from); err != nil {
			t.Error(err)
		}
		given[filepath.Base(from)] = true
	}
	embedded, err := fs.ReadDir(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range embedded {
		if !given[entry.Name()] {
			t.Errorf("%s is not mounted", entry.Name())
		}
	}
	if !given["package-lock.json"] {
		t.Error("npm ci has no package-lock.json")
	}

	var variables []string
	for _, script := range []string{"server.mjs", "page.mjs"} {
		for _, list := range submatches(read(t, script), `const \{(.*)\} = process\.env`) {
			variables = append(variables, submatches(list, `([A-Z_]{3,})`)...)
		}
	}
	slices.Sort(variables)
	if set := slices.Sorted(maps.Keys(node.Environment)); !slices.Equal(set, variables) {
		t.Errorf("compose.yaml sets %q, the server reads %q", set, variables)
	}
}

// Addresses lead to services, at the ports where these listen.
func TestComposeAddresses(t *testing.T) {
	services := readServices(t)
	_, nodePort, err := net.SplitHostPort(services["node"].Environment["LISTEN"])
	if err != nil {
		t.Fatal(err)
	}
	daemonPort := submatches(read(t, filepath.Join(daemonFolder, "Dockerfile")), `TWINE_LISTEN=0\.0\.0\.0:(\d+)`)
	if len(daemonPort) != 1 {
		t.Fatalf("the image listens on %q", daemonPort)
	}
	ports := map[string]string{"redis": "6379", "twined-1": daemonPort[0], "twined-2": daemonPort[0], "node": nodePort}
	inside := func(name, address string) {
		u, err := url.Parse(address)
		if err != nil || ports[u.Hostname()] == "" || u.Port() != ports[u.Hostname()] {
			t.Errorf("%s: %s leads nowhere (%v)", name, address, err)
		}
	}
	published := map[string]string{}
	for name, s := range services {
		for _, port := range s.Ports {
			if parts := strings.Split(port, ":"); parts[2] != ports[name] {
				t.Errorf("%s listens at %s, and %s is published", name, ports[name], parts[2])
			} else {
				published["http://localhost:"+parts[1]] = name
			}
		}
	}
	inside("twined", services["twined-1"].Environment["TWINE_REDIS_URL"])
	environment := services["node"].Environment
	inside("node", environment["REDIS_URL"])
	public := strings.Split(environment["PUBLIC_URLS"], ",")
	for i, address := range strings.Split(environment["TWINED_URLS"], ",") {
		inside("node", address)
		name := fmt.Sprint("twined-", i+1)
		if !strings.Contains(address, name) || published[public[i]] != name {
			t.Errorf("%s is %s inside, and for browsers %s, which is %s", name, address, public[i], published[public[i]])
		}
	}
	if !strings.Contains(strings.Join(services["node"].Healthcheck.Test, " "), "http://127.0.0.1:"+nodePort+"/healthz") || published["http://localhost:8084"] != "node" {
		t.Errorf("the server of Node is at port %s; published are %v", nodePort, published)
	}
}

// The versions are exact, and those that the other tests speak with. The lock file has no addresses of packages.
func TestVersions(t *testing.T) {
	type manifest struct{ Dependencies map[string]string }
	var mine, tested manifest
	for path, into := range map[string]*manifest{"package.json": &mine, "../../testdata/js/package.json": &tested} {
		if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
			t.Fatal(err)
		}
	}
	var lock struct {
		Packages map[string]struct {
			Version, Resolved, Integrity string
			Dependencies                 map[string]string
		}
	}
	if err := json.Unmarshal([]byte(read(t, "package-lock.json")), &lock); err != nil {
		t.Fatal(err)
	}
	if len(mine.Dependencies) != 3 || !maps.Equal(lock.Packages[""].Dependencies, mine.Dependencies) {
		t.Errorf("package.json has %v, package-lock.json %v", mine.Dependencies, lock.Packages[""].Dependencies)
	}
	for name, version := range mine.Dependencies {
		if version != tested.Dependencies[name] || version != lock.Packages["node_modules/"+name].Version {
			t.Errorf("%s is %s, the other tests use %s", name, version, tested.Dependencies[name])
		}
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" || name != "" && p.Integrity == "" {
			t.Errorf("%s is taken from %q, with the checksum %q", name, p.Resolved, p.Integrity)
		}
	}
}
