package publishcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// daemon answers like POST /v1/publish, and notes what it is asked.
type daemon struct {
	*httptest.Server
	mu       sync.Mutex
	messages []map[string]any
	refuse   func(w http.ResponseWriter, m map[string]any) bool // writes a problem
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	for _, name := range []string{"TWINE_URL", "TWINE_API_KEY", "TWINE_DATA_DIR"} {
		t.Setenv(name, "") // which counts as not set
	}
	return d
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var in map[string]any
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	switch {
	case err != nil:
		problem(w, 400, err.Error())
	case r.URL.Path != "/v1/publish" || r.Header.Get("Authorization") != "Bearer secret":
		problem(w, 401, "wrong API key")
	default:
		all, batch := in["messages"].([]any)
		if !batch {
			all = []any{in}
		}
		var results []string
		for _, one := range all {
			m := one.(map[string]any)
			if d.refuse != nil && d.refuse(w, m) {
				return
			}
			d.messages = append(d.messages, m)
			results = append(results, fmt.Sprintf(`{"offset":"%d-0"}`, len(d.messages)))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(201)
		if batch {
			fmt.Fprintf(w, `{"results":[%s]}`, strings.Join(results, ","))
			return
		}
		io.WriteString(w, results[0])
	}
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"title":%q,"status":%d,"detail":%q}`, http.StatusText(status), status, detail)
}

// run runs the command against the daemon, and returns what it has written to standard output.
func (d *daemon) run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := Run(t.Context(), append(args, "--url", d.URL), strings.NewReader(stdin), &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Errorf("it wrote %q", &stderr)
	}
	return stdout.String(), err
}

func TestPublish(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "secret,other")
	for _, test := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"", []string{"lobby", `{"text": "hello"}`}, `{"rooms":["lobby"],"event":"message","data":{"text":"hello"},"stamp":true}`},
		{"", []string{"lobby", ` {}`, "--as-is"}, `{"rooms":["lobby"],"event":"message","data":{}}`},
		{"", []string{"lobby", `{}`, "--event", "news"}, `{"rooms":["lobby"],"event":"news","data":{}}`},
		{"", []string{"a/b c", `"x"`, "--except", "q,r", "--except=s"}, `{"rooms":["a/b c"],"except":["q,r","s"],"event":"message","data":"x"}`},
		{"", []string{"lobby", "null", "--id", "7"}, `{"rooms":["lobby"],"event":"message","data":null,"id":"7"}`},
		{"", []string{"lobby", "--", "-1.50"}, `{"rooms":["lobby"],"event":"message","data":-1.50}`},
		{"[1,\n2]\n", []string{"lobby", "-"}, `{"rooms":["lobby"],"event":"message","data":[1,2]}`},
		{"\n {\n}\n", []string{"lobby", "-"}, `{"rooms":["lobby"],"event":"message","data":{},"stamp":true}`},
	} {
		args := test.args
		if i := slices.Index(args, "--"); i >= 0 {
			args = append([]string{"--url", d.URL}, args...)
			if out, err := new(bytes.Buffer), Run(t.Context(), args, nil, io.Discard, io.Discard); err != nil || out.Len() > 0 {
				t.Error(err)
			}
		} else if out, err := d.run(t, test.stdin, args...); err != nil || out != fmt.Sprintf("%d-0\n", len(d.messages)) {
			t.Errorf("%q: %q, %v", args, out, err)
		}
		got := d.messages[len(d.messages)-1]
		var want map[string]any
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		if want["id"] == nil {
			delete(got, "id")
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: got %v, want %v", args, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	d := startDaemon(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if _, err := d.run(t, "", "r", "1"); err == nil || !strings.Contains(err.Error(), "no API key in the folder twine-data; give the key with --api-key") {
		t.Errorf("without a key: %v", err)
	}
	for folder, key := range map[string]string{"twine-data": "secret", "other": "other", "broken": "\n"} {
		if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "api-key"), []byte(key+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		env, dirEnv string
		args        []string
		want        string // in the error
	}{
		{"", "", nil, ""},
		{"", "", []string{"--data-dir", "other"}, "wrong API key; give the daemon's key with"},
		{"", "", []string{"--data-dir", "broken"}, "does not hold an API key"},
		{"", "other", nil, "wrong API key"},
		{"", "other", []string{"--api-key", "secret"}, ""},
		{"secret", "other", nil, ""},
		{"wrong", "", nil, "wrong API key"},
		{"wrong", "", []string{"--api-key=secret,wrong"}, ""},
		{"", "", []string{"--api-key", "a b"}, "visible ASCII"},
	} {
		t.Setenv("TWINE_API_KEY", test.env)
		t.Setenv("TWINE_DATA_DIR", test.dirEnv)
		out, err := d.run(t, "", append([]string{"r", "1"}, test.args...)...)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || (err == nil) != (out != "") {
			t.Errorf("%+v: %q, %v", test, out, err)
		}
	}
}

func TestAddressFromTheEnvironment(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_URL", d.URL+"/")
	if err := Run(t.Context(), []string{"r", "1", "--api-key", "secret"}, nil, io.Discard, io.Discard); err != nil || len(d.messages) != 1 {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "secret")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":             {nil, "room"},
		"no message":          {[]string{"r"}, "the message is missing; give JSON"},
		"no JSON":             {[]string{"r", "hello"}, `'"hello"'`},
		"two values":          {[]string{"r", "1 2"}, "not JSON"},
		"empty":               {[]string{"r", "-"}, "not JSON"},
		"message and lines":   {[]string{"r", "1", "--lines"}, "not both"},
		"too many arguments":  {[]string{"r", "1", "2"}, "see twined publish --help"},
		"unknown flag":        {[]string{"r", "1", "--room", "x"}, "--room"},
		"no room":             {[]string{"", "1"}, "no room"},
		"attempts":            {[]string{"r", "1", "--attempts=-1"}, "--attempts: -1 is less than 0"},
		"not a URL":           {[]string{"r", "1", "--url", "example.com"}, "write it like https://"},
		"nobody there":        {[]string{"r", "1", "--attempts=2", "--url", "http://127.0.0.1:1"}, "nothing answers at http://127.0.0.1:1; is twined running there?"},
		"refused":             {[]string{"r", "1", "--event", "refused"}, "422 Unprocessable Entity: because"},
		"not now":             {[]string{"r", "1", "--event", "later", "--attempts=1", "--id", "x"}, "publish it again with --id x, and it is delivered once"},
		"after two attempts":  {[]string{"r", "1", "--event", "later", "--attempts=2"}, "gave up after attempt 2"},
		"not now, with lines": {[]string{"r", "--lines", "--event", "later", "--attempts=1"}, "0 lines were published"},
	} {
		t.Run(name, func(t *testing.T) {
			d.refuse = func(w http.ResponseWriter, m map[string]any) bool {
				switch m["event"] {
				case "refused":
					problem(w, 422, "because")
				case "later":
					problem(w, 503, "not now")
				}
				return m["event"] != "message"
			}
			stdin := ""
			if slices.Contains(test.args, "--lines") {
				stdin = "1\n"
			}
			args := test.args
			if !slices.Contains(args, "--url") {
				args = append(args, "--url", d.URL)
			}
			var stdout bytes.Buffer
			err := Run(t.Context(), args, strings.NewReader(stdin), &stdout, io.Discard)
			if err == nil || !strings.HasPrefix(err.Error(), "publish: ") || !strings.Contains(err.Error(), test.want) || stdout.Len() > 0 {
				t.Errorf("got %v and %q, want an error with %q", err, &stdout, test.want)
			}
		})
	}
	if len(d.messages) > 0 {
		t.Errorf("published were %v", d.messages)
	}
}

func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if err := Run(t.Context(), []string{"--help"}, nil, &help, io.Discard); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"twined publish <room>", "--lines", "--event", "--url", "$TWINE_URL", "--api-key", "$TWINE_API_KEY", "--data-dir", "--id", "--as-is", "--attempts", "http://127.0.0.1:3005"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
}

func TestLines(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "secret")
	const count = 2500
	var stdin, want strings.Builder
	for n := range count {
		fmt.Fprintf(&stdin, "{\"n\": %d}\r\n\n", n)
		fmt.Fprintf(&want, "%d-0\n", n+1)
	}
	out, err := d.run(t, stdin.String(), "r", "-", "--lines", "--id", "run", "--event", "x")
	if err != nil || out != want.String() {
		t.Errorf("%v, %d bytes", err, len(out))
	}
	if len(d.messages) != count {
		t.Fatalf("%d messages", len(d.messages))
	}
	for n, m := range d.messages {
		if fmt.Sprint(m["data"]) != fmt.Sprintf("map[n:%d]", n) || m["id"] != fmt.Sprintf("run/%d", 2*n+1) || m["event"] != "x" || m["stamp"] != nil {
			t.Fatalf("message %d is %v", n, m)
		}
	}
	if out, err := d.run(t, "", "r", "--lines"); err != nil || out != "" {
		t.Errorf("without lines: %q, %v", out, err)
	}
}

func TestLinesThatFail(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "secret")
	out, err := d.run(t, "1\n2\nthree\n4\n", "r", "--lines")
	if err == nil || !strings.Contains(err.Error(), "line 3: the message is not JSON") || !strings.HasSuffix(err.Error(), "; 2 lines were published") || out != "1-0\n2-0\n" {
		t.Errorf("%q, %v", out, err)
	}
	out, err = d.run(t, "1\n"+strings.Repeat("2", 1_100_000), "r", "--lines")
	if err == nil || !strings.Contains(err.Error(), "line 2: it is longer than 1000000 bytes") || out != "3-0\n" {
		t.Errorf("%q, %v", out, err)
	}
	d.refuse = func(w http.ResponseWriter, m map[string]any) bool {
		if m["data"] == "bad" {
			problem(w, 422, "because")
			return true
		}
		return false
	}
	// The bad line comes when the first was published, and behind it more lines than anyone waits for.
	lines, write := io.Pipe()
	defer lines.Close()
	stdout := &firstWrite{seen: make(chan struct{})}
	go func() {
		io.WriteString(write, "1\n")
		<-stdout.seen
		for line := "\"bad\"\n"; ; line = "2\n" {
			if _, err := io.WriteString(write, line); err != nil {
				return
			}
		}
	}()
	err = Run(t.Context(), []string{"r", "--lines", "--url", d.URL}, lines, stdout, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "line 2: the server answered 422 Unprocessable Entity: because; ") || !strings.HasPrefix(stdout.String(), "4-0\n") {
		t.Errorf("%v, %.100q", err, stdout)
	}
}

// firstWrite tells when something was written.
type firstWrite struct {
	bytes.Buffer
	once sync.Once
	seen chan struct{}
}

func (w *firstWrite) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	w.once.Do(func() { close(w.seen) })
	return n, err
}

// TestSilentInput: who waits for more lines that never come is told of a failure nevertheless, and can be stopped.
func TestSilentInput(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "wrong")
	lines, write := io.Pipe()
	defer write.Close()
	go io.WriteString(write, "1\n")
	if err := Run(t.Context(), []string{"r", "--lines", "--url", d.URL}, lines, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "line 1: the server answered 401") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := Run(ctx, []string{"r", "--lines", "--url", d.URL}, lines, io.Discard, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputFails(t *testing.T) {
	d := startDaemon(t)
	t.Setenv("TWINE_API_KEY", "secret")
	for _, args := range [][]string{{"r", "1"}, {"r", "--lines"}} {
		if err := Run(t.Context(), append(args, "--url", d.URL), strings.NewReader("1\n"), brokenWriter{}, io.Discard); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
