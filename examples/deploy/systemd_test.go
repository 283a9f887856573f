package deploy

import (
	"os"
	"strings"
	"testing"
	"time"
)

const unitPath = "systemd/twined.service"

// unit returns the settings of the unit by section and name.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(unitPath)
	if err != nil {
		t.Fatal(err)
	}
	settings, section := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			name, value, found := strings.Cut(line, "=")
			if !found || section == "" {
				t.Fatalf("%q is no setting", line)
			}
			settings[section+"."+name] = append(settings[section+"."+name], value)
		}
	}
	return settings
}

func TestUnit(t *testing.T) {
	settings := unit(t)
	for name, want := range map[string]string{
		"Service.DynamicUser": "yes", "Service.StateDirectory": "twined", "Service.ProtectSystem": "strict", "Service.NoNewPrivileges": "yes",
		"Service.CapabilityBoundingSet": "", "Service.KillSignal": "SIGTERM", "Service.Restart": "always", "Install.WantedBy": "multi-user.target",
	} {
		if got := settings[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	environment := map[string]any{}
	for _, pair := range strings.Fields(strings.Join(settings["Service.Environment"], " ")) {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	checkEnvironment(t, unitPath, environment)
	if environment["TWINE_DATA_DIR"] != "%S/"+settings["Service.StateDirectory"][0] {
		t.Errorf("the data folder is %v", environment["TWINE_DATA_DIR"])
	}
	credential, _, _ := strings.Cut(settings["Service.LoadCredential"][0], ":")
	if environment["TWINE_CONFIG"] != "%d/"+credential {
		t.Errorf("the settings are in %v, and loaded as %s", environment["TWINE_CONFIG"], credential)
	}
	drain, stop := duration(t, environment["TWINE_DRAIN"]), duration(t, settings["Service.TimeoutStopSec"][0])
	if stop < drain+10*time.Second {
		t.Errorf("it drains for %s, and is killed after %s", drain, stop)
	}
}
