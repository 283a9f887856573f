package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const composeFolder = "compose"

// composition is as much of a docker-compose.yml as matters here.
type composition struct {
	Services map[string]struct {
		Image           string
		Build           struct{ Context, Dockerfile string }
		Environment     map[string]any
		Volumes, Ports  []string
		Networks        []string
		Command         []string
		CapDrop         []string       `yaml:"cap_drop"`
		ReadOnly        bool           `yaml:"read_only"`
		StopGracePeriod string         `yaml:"stop_grace_period"`
		DependsOn       map[string]any `yaml:"depends_on"`
		Healthcheck     struct {
			Test              []string
			Interval, Timeout string
			Retries           int
		}
		SecurityOpt []string `yaml:"security_opt"`
		Ulimits     map[string]int
		Restart     string
	}
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
	Name     string
}

func readComposition(t *testing.T) *composition {
	t.Helper()
	file, err := os.Open(filepath.Join(composeFolder, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	var c composition
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestComposition(t *testing.T) {
	c := readComposition(t)
	nodes := 0
	for name, service := range c.Services {
		for other := range service.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
		for _, network := range service.Networks {
			if _, ok := c.Networks[network]; !ok {
				t.Errorf("%s is in the network %s, which is not there", name, network)
			}
		}
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join(composeFolder, from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s has the volume %s, which is not there", name, from)
			}
		}
		if name != "haproxy" && (len(service.Ports) > 0 || !slices.Equal(service.Networks, []string{"inside"})) {
			t.Errorf("%s can be reached from outside: %q %q", name, service.Ports, service.Networks)
		}
		if service.Image != "twined" {
			continue
		}
		nodes++
		checkEnvironment(t, name, service.Environment)
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) {
			t.Errorf("%s may write, or has capabilities", name)
		}
		drain, stop := duration(t, service.Environment["TWINE_DRAIN"]), duration(t, service.StopGracePeriod)
		if stop < drain+10*time.Second {
			t.Errorf("%s drains for %s, and is killed after %s", name, drain, stop)
		}
		if file := service.Build.Dockerfile; file != "" {
			if _, err := os.Stat(filepath.Join(composeFolder, service.Build.Context, file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if nodes != 2 || !c.Networks["inside"].Internal {
		t.Errorf("%d nodes, networks %v", nodes, c.Networks)
	}
	if !slices.Contains(c.Services["redis"].Command, "noeviction") {
		t.Errorf("redis throws history away when memory is short: %q", c.Services["redis"].Command)
	}
}

// The settings of HAProxy name the nodes and ports of the composition.
func TestCompositionsProxy(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(composeFolder, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	c := readComposition(t)
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "presetenv" {
			settings[words[1]] = words[2]
		}
	}
	for _, variable := range []string{"TWINE_NODE_1", "TWINE_NODE_2"} {
		host, _, _ := strings.Cut(settings[variable], ":")
		if c.Services[host].Image != "twined" || portOf(t, settings[variable]) != defaultPort(t) {
			t.Errorf("%s is %s", variable, settings[variable])
		}
	}
	if settings["TWINE_NODE_1"] == settings["TWINE_NODE_2"] {
		t.Errorf("one node twice: %s", settings["TWINE_NODE_1"])
	}
	_, inside, _ := strings.Cut(c.Services["haproxy"].Ports[0], ":")
	if "*:"+inside != settings["TWINE_HTTP"] {
		t.Errorf("it listens on %s, and port %s is published", settings["TWINE_HTTP"], inside)
	}
}

// What the proxies' settings have in common, and what the daemon has to have for it.
func TestProxySettings(t *testing.T) {
	files, err := filepath.Glob("*/haproxy*.cfg")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("nginx/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	if files = append(files, more...); len(files) != 5 {
		t.Fatalf("the settings are %q", files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checked := false
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), ";"))
			if len(words) < 2 {
				continue
			}
			last := words[len(words)-1]
			switch words[0] {
			case "proxy_read_timeout", "proxy_send_timeout":
				checked = true
				if d := duration(t, last); d <= silence {
					t.Errorf("%s: %s: a client may be silent for %s", file, line, silence)
				}
			case "timeout":
				if kind := words[1]; (kind == "client" || kind == "server" || kind == "tunnel") && duration(t, last) <= silence {
					t.Errorf("%s: %s: a client may be silent for %s", file, line, silence)
				}
			case "http-check":
				if words[1] == "send" {
					checked = true
					if at := slices.Index(words, "uri"); at < 0 || !routes(t)["GET "+words[at+1]] || words[at+1] != "/readyz" {
						t.Errorf("%s: %s", file, line)
					}
				}
			}
		}
		if !checked {
			t.Errorf("%s has nothing to check", file)
		}
	}
}
