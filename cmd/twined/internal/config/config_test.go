package config

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, args ...string) *Config {
	t.Helper()
	cfg, exit, err := Parse(args, "test", io.Discard, io.Discard)
	if err != nil || exit {
		t.Fatalf("Parse(%q): exit %v, %v", args, exit, err)
	}
	return cfg
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "twined.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	cfg := parse(t)
	if cfg.Listen != "127.0.0.1:3005" || cfg.DataDir != "twine-data" || cfg.Drain != 20*time.Second ||
		cfg.RecoveryWindow != 24*time.Hour || cfg.HotWindow != 2*time.Minute || cfg.MaxReplay != 1000 || cfg.Durability != "sync" || cfg.Quarantine ||
		len(cfg.APIKey) != 0 || !slices.Equal(cfg.CORSOrigin, []string{"*"}) || cfg.LogFormat != "auto" || cfg.LogLevel != "info" {
		t.Errorf("got %+v", *cfg)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	path := writeFile(t, `{"listen": "file:1", "data-dir": "file", "drain": "1s", "api-key": ["f1", "f2"]}`)
	t.Setenv("TWINE_DATA_DIR", "env")
	t.Setenv("TWINE_DRAIN", "2s")
	cfg := parse(t, "--config", path, "--drain", "3s")
	if cfg.Listen != "file:1" || cfg.DataDir != "env" || cfg.Drain != 3*time.Second || !slices.Equal(cfg.APIKey, []string{"f1", "f2"}) {
		t.Errorf("got %+v", *cfg)
	}
}

func TestFileNamedInEnvironment(t *testing.T) {
	t.Setenv("TWINE_CONFIG", writeFile(t, `{"listen": "file:1"}`))
	if cfg := parse(t); cfg.Listen != "file:1" {
		t.Errorf("listen is %q", cfg.Listen)
	}
}

func TestKeysRepeatAndSplit(t *testing.T) {
	if cfg := parse(t, "--api-key", "a", "--api-key=b,c"); !slices.Equal(cfg.APIKey, []string{"a", "b", "c"}) {
		t.Errorf("got %q", cfg.APIKey)
	}
	t.Setenv("TWINE_API_KEY", "d,e")
	if cfg := parse(t); !slices.Equal(cfg.APIKey, []string{"d", "e"}) {
		t.Errorf("got %q", cfg.APIKey)
	}
	if cfg := parse(t, "--api-key", "a"); !slices.Equal(cfg.APIKey, []string{"a"}) {
		t.Errorf("got %q", cfg.APIKey)
	}
}

func TestEmptyVariableCountsAsNotSet(t *testing.T) {
	t.Setenv("TWINE_API_KEY", "")
	t.Setenv("TWINE_DRAIN", "")
	t.Setenv("TWINE_LISTEN", "")
	if cfg := parse(t); len(cfg.APIKey) != 0 || cfg.Drain != 20*time.Second || cfg.Listen != "127.0.0.1:3005" {
		t.Errorf("got %+v", *cfg)
	}
}

func TestRecoverySettings(t *testing.T) {
	right := func(t *testing.T, args ...string) {
		t.Helper()
		if cfg := parse(t, args...); cfg.RecoveryWindow != time.Hour || cfg.HotWindow != 30*time.Second || cfg.MaxReplay != 50 ||
			cfg.Durability != "async" || !cfg.Quarantine {
			t.Errorf("got %+v", *cfg)
		}
	}
	t.Run("flags", func(t *testing.T) {
		right(t, "--recovery-window", "1h", "--hot-window=30s", "--max-replay=50", "--durability", "async", "--quarantine")
	})
	t.Run("environment", func(t *testing.T) {
		for name, value := range map[string]string{"RECOVERY_WINDOW": "1h", "HOT_WINDOW": "30s", "MAX_REPLAY": "50", "DURABILITY": "async", "QUARANTINE": "true"} {
			t.Setenv("TWINE_"+name, value)
		}
		right(t)
	})
	t.Run("file", func(t *testing.T) {
		right(t, "--config", writeFile(t, `{"recovery-window": "1h", "hot-window": "30s", "max-replay": 50, "durability": "async", "quarantine": true}`))
	})
	if cfg := parse(t, "--recovery-window=1m", "--hot-window=1m", "--max-replay=1"); cfg.HotWindow != time.Minute {
		t.Errorf("at the bounds: got %+v", *cfg)
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":        {[]string{"--nonsense"}, "--nonsense"},
		"argument":            {[]string{"serve"}, "serve"},
		"bad duration":        {[]string{"--drain", "soon"}, "--drain"},
		"negative drain":      {[]string{"--drain=-1s"}, "negative"},
		"window too short":    {[]string{"--recovery-window", "59s"}, "--recovery-window: 59s is less than a minute"},
		"window without unit": {[]string{"--recovery-window", "24"}, "--recovery-window"},
		"no hot window":       {[]string{"--hot-window", "0"}, "--hot-window"},
		"hot window negative": {[]string{"--hot-window=-1s"}, "--hot-window"},
		"hot window too long": {[]string{"--recovery-window", "1h", "--hot-window", "61m"}, "more than the recovery window"},
		"replay nothing":      {[]string{"--max-replay", "0"}, "--max-replay: 0 is less than 1"},
		"replay a fraction":   {[]string{"--max-replay", "1.5"}, "--max-replay"},
		"durability":          {[]string{"--durability", "perhaps"}, "--durability"},
		"durability in file":  {[]string{"--config", writeFile(t, `{"durability": "perhaps"}`)}, "durability"},
		"quarantine in file":  {[]string{"--config", writeFile(t, `{"quarantine": "perhaps"}`)}, "quarantine"},
		"key with a space":    {[]string{"--api-key", "a b"}, "visible ASCII"},
		"empty key":           {[]string{"--api-key", "a,,b"}, "empty"},
		"not an origin":       {[]string{"--cors-origin", "example.com"}, "https://"},
		"log format":          {[]string{"--log-format", "xml"}, "log-format"},
		"missing config file": {[]string{"--config", "/nonexistent/twined.json"}, "no such file"},
		"config not JSON":     {[]string{"--config", writeFile(t, `listen: 1`)}, "not a JSON object"},
		"config twice":        {[]string{"--config", writeFile(t, `{}{}`)}, "more than one"},
		"unknown setting":     {[]string{"--config", writeFile(t, `{"lisen": "x"}`)}, `unknown setting "lisen"`},
		"setting of bad type": {[]string{"--config", writeFile(t, `{"listen": {}}`)}, "want a string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse(test.args, "test", io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestHelpAndVersionExit(t *testing.T) {
	var help bytes.Buffer
	if _, exit, err := Parse([]string{"--help"}, "test", &help, io.Discard); !exit || err != nil {
		t.Errorf("--help: exit %v, %v", exit, err)
	}
	for _, want := range []string{"--listen", "$TWINE_LISTEN", "--api-key", "--data-dir", "--drain", "--recovery-window", "--hot-window",
		"--max-replay", "--durability", "--quarantine", "--redis-url", "--dynamodb-table", "--advertise-url"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
	var version bytes.Buffer
	if _, exit, err := Parse([]string{"--version"}, "1.2.3", &version, io.Discard); !exit || err != nil || version.String() != "1.2.3\n" {
		t.Errorf("--version: exit %v, %v, %q", exit, err, version.String())
	}
}
