package healthcheck

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
)

// serve returns the host and port of a daemon that answers /healthz with the given status.
func serve(t *testing.T, status int, text string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/healthz" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func run(t *testing.T, listen string, args ...string) error {
	t.Helper()
	t.Setenv("TWINE_LISTEN", listen)
	return Run(context.Background(), args, strings.NewReader(""), io.Discard, io.Discard)
}

func TestHealthy(t *testing.T) {
	address := serve(t, http.StatusOK, "ok")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args   []string
		listen string
	}{
		"address":      {nil, address},
		"every one":    {nil, ":" + port},
		"every IPv4":   {nil, "0.0.0.0:" + port},
		"name":         {nil, "localhost:" + port},
		"url":          {[]string{"--url", "http://" + address + "/healthz"}, "192.0.2.1:1"},
		"with timeout": {[]string{"--timeout=20s"}, address},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
			if err := run(t, test.listen, test.args...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnhealthy(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	// It accepts, and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, test := range map[string]struct {
		args   []string
		listen string
		want   string
	}{
		"bad status":      {nil, serve(t, http.StatusServiceUnavailable, "storage has failed\n"), `503 Service Unavailable: "storage has failed"`},
		"redirect":        {nil, serve(t, http.StatusFound, ""), "302"},
		"nobody":          {nil, gone.Addr().String(), "refused"},
		"silence":         {[]string{"--timeout", "50ms"}, silent.Addr().String(), "deadline"},
		"port left open":  {nil, "127.0.0.1:0", "--url"},
		"no port":         {nil, "127.0.0.1", "TWINE_LISTEN"},
		"unknown flag":    {[]string{"--nonsense"}, "", "nonsense"},
		"argument":        {[]string{"now"}, "", `"now"`},
		"timeout of zero": {[]string{"--timeout", "0s"}, "", "--timeout"},
		"url of no use":   {[]string{"--url", "127.0.0.1"}, "", "unsupported protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t, test.listen, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	for listen, want := range map[string]string{
		":3005":          "http://127.0.0.1:3005/healthz",
		"[::]:80":        "http://[::1]:80/healthz",
		"[2001:db8::1]:": "",
		"10.1.2.3:3005":  "http://10.1.2.3:3005/healthz",
	} {
		got, err := target(listen)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%s: got %q, %v; want %q", listen, got, err, want)
		}
	}
}

func TestDefaultIsTheDaemons(t *testing.T) {
	cfg, exit, err := config.Parse(nil, "test", io.Discard, io.Discard)
	if err != nil || exit {
		t.Fatal(exit, err)
	}
	if cfg.Listen != defaultListen {
		t.Errorf("the daemon listens on %s by default, and is looked for on %s", cfg.Listen, defaultListen)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := Run(context.Background(), []string{"--help"}, strings.NewReader(""), &out, io.Discard); err != nil || !strings.Contains(out.String(), "-timeout") {
		t.Errorf("got %v, %q", err, out.String())
	}
}
