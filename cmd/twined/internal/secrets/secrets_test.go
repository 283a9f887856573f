package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/twine/leaktest"
)

const (
	name      = "twine/api-key"
	secretARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:twine/api-key-AbCdEf"
)

func TestMain(m *testing.M) {
	// What the machine's owner has set must not decide.
	for _, pair := range os.Environ() {
		if variable, _, _ := strings.Cut(pair, "="); strings.HasPrefix(variable, "AWS_") {
			os.Unsetenv(variable)
		}
	}
	leaktest.Main(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// manager is Secrets Manager as far as its JSON protocol matters here.
type manager struct {
	t      *testing.T
	url    string
	answer func(attempt int, w http.ResponseWriter, r *http.Request)

	mu       sync.Mutex
	attempts int
	regions  []string // that requests were signed for
	asked    []string // the ids of secrets
	closing  chan struct{}
}

// seen returns how many requests there were, for which secrets, and for which regions they were signed.
func (m *manager) seen() (attempts int, asked, regions []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.attempts, slices.Clone(m.asked), slices.Clone(m.regions)
}

var credential = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIATEST/\d{8}/([a-z0-9-]+)/secretsmanager/aws4_request, SignedHeaders=\S*x-amz-target\S*, Signature=[0-9a-f]{64}$`)

// newManager starts a manager whose answers are those of answer, and gives the process credentials and a region.
func newManager(t *testing.T, answer func(attempt int, w http.ResponseWriter, r *http.Request)) *manager {
	t.Helper()
	m := &manager{t: t, answer: answer, closing: make(chan struct{})}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(m.closing) })
	m.url = server.URL
	for variable, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-west-2",
		"AWS_CONFIG_FILE":             filepath.Join(t.TempDir(), "config"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "credentials"),
		"AWS_EC2_METADATA_DISABLED":   "true",
	} {
		t.Setenv(variable, value)
	}
	return m
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ SecretId string }
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	signed := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if err != nil || signed == nil || r.Method != http.MethodPost || r.URL.Path != "/" ||
		r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		m.t.Errorf("a request that Secrets Manager would not take: %v %s %s %v %s", err, r.Method, r.URL, r.Header, text)
		http.Error(w, "", http.StatusTeapot)
		return
	}
	m.mu.Lock()
	m.attempts++
	attempt := m.attempts
	m.regions = append(m.regions, signed[1])
	m.asked = append(m.asked, body.SecretId)
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	m.answer(attempt, w, r)
}

func value(text string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"ARN": secretARN, "Name": name, "SecretString": text, "CreatedDate": 1767225600.123,
			"VersionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111", "VersionStages": []string{"AWSCURRENT"},
		})
	}
}

func refusal(status int, code string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", code)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"__type":%q,"Message":"so it is"}`, code)
	}
}

func TestKeys(t *testing.T) {
	for content, want := range map[string][]string{
		"k1":              {"k1"},
		"k1\n":            {"k1"},
		"old,new":         {"old", "new"},
		" old \r\n\tnew ": {"old", "new"},
		`{"api_key":"k"}`: {"k"},
		"\n{\"user\": \"x\", \"api_key\": \"a, b\"}": {"a", "b"},
		`{"api_key": ["a", "b"], "n": 1}`:            {"a", "b"},
		`["a"]`:                                      {`["a"]`}, // odd, but it is what was stored
	} {
		t.Run(content, func(t *testing.T) {
			m := newManager(t, value(content))
			keys, err := APIKeys(context.Background(), name, Options{Endpoint: m.url})
			if err != nil || !slices.Equal(keys, want) {
				t.Fatalf("got %q, %v; want %q", keys, err, want)
			}
			if attempts, asked, regions := m.seen(); attempts != 1 || asked[0] != name || regions[0] != "us-west-2" {
				t.Errorf("asked %q in %q", asked, regions)
			}
		})
	}
}

func TestARNSaysTheRegion(t *testing.T) {
	m := newManager(t, value("k"))
	t.Setenv("AWS_REGION", "")
	if _, err := APIKeys(context.Background(), secretARN, Options{Endpoint: m.url}); err != nil {
		t.Fatal(err)
	}
	if _, asked, regions := m.seen(); asked[0] != secretARN || regions[0] != "eu-central-1" {
		t.Errorf("asked for %q in %q", asked, regions)
	}
	if _, err := APIKeys(context.Background(), name, Options{Endpoint: m.url}); !errors.Is(err, ErrNoRegion) || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("a name without a region: %v", err)
	}
}

func TestEndpointOfTheEnvironment(t *testing.T) {
	m := newManager(t, value("k"))
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", m.url)
	if keys, err := APIKeys(context.Background(), name, Options{}); err != nil || !slices.Equal(keys, []string{"k"}) {
		t.Errorf("got %q, %v", keys, err)
	}
}

func TestNoUsableKey(t *testing.T) {
	for content, want := range map[string]string{
		"":                             "empty",
		" ,\n":                         "empty",
		"hunter2é":                     "visible ASCII",
		"{hunter2":                     "is none",
		`{"key": "hunter2"}`:           `without "api_key"`,
		`{"api_key": {"a":"hunter2"}}`: "neither a string nor a list",
		`{"api_key": null}`:            "neither a string nor a list",
		`{"api_key": []}`:              "empty",
	} {
		t.Run(content, func(t *testing.T) {
			m := newManager(t, value(content))
			keys, err := APIKeys(context.Background(), name, Options{Endpoint: m.url})
			if !errors.Is(err, ErrContent) || !strings.Contains(err.Error(), want) || keys != nil {
				t.Errorf("got %q, %v; want an error with %q", keys, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
	t.Run("binary", func(t *testing.T) {
		m := newManager(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"ARN":%q,"Name":%q,"SecretBinary":"aHVudGVyMg=="}`, secretARN, name)
		})
		if _, err := APIKeys(context.Background(), name, Options{Endpoint: m.url}); !errors.Is(err, ErrContent) || !strings.Contains(err.Error(), "binary") {
			t.Errorf("got %v", err)
		}
	})
}

// What only an operator can mend is said at once.
func TestRefused(t *testing.T) {
	for code, want := range map[string]error{
		"ResourceNotFoundException": ErrNotFound,
		"AccessDeniedException":     ErrDenied,
		"DecryptionFailure":         ErrDenied,
		"InvalidRequestException":   nil, // such as a secret that is marked for deletion
	} {
		t.Run(code, func(t *testing.T) {
			m := newManager(t, refusal(http.StatusBadRequest, code))
			_, err := APIKeys(context.Background(), name, Options{Endpoint: m.url})
			if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "so it is") {
				t.Errorf("got %v", err)
			}
			if attempts, _, _ := m.seen(); attempts != 1 {
				t.Errorf("%d attempts", attempts)
			}
		})
	}
}

// What may go away is tried again until it has.
func TestTriedAgain(t *testing.T) {
	var closing chan struct{}
	hangUp := func(_ int, w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	silence := func(_ int, w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-closing:
		}
	}
	bad := []func(int, http.ResponseWriter, *http.Request){
		refusal(http.StatusBadRequest, "ThrottlingException"),
		refusal(http.StatusInternalServerError, "InternalServiceError"),
		refusal(http.StatusServiceUnavailable, "ServiceUnavailable"),
		hangUp, silence,
	}
	m := newManager(t, func(attempt int, w http.ResponseWriter, r *http.Request) {
		if attempt <= len(bad) {
			bad[attempt-1](attempt, w, r)
			return
		}
		value("k")(attempt, w, r)
	})
	closing = m.closing
	// The time of one attempt is generous: one that succeeds must not be cut on a busy machine.
	keys, err := APIKeys(context.Background(), name, Options{Endpoint: m.url, AttemptTimeout: 3 * time.Second, Backoff: time.Millisecond})
	if err != nil || !slices.Equal(keys, []string{"k"}) {
		t.Errorf("got %q, %v", keys, err)
	}
	if attempts, _, _ := m.seen(); attempts != len(bad)+1 {
		t.Errorf("%d attempts, want %d", attempts, len(bad)+1)
	}
}

func TestGivesUp(t *testing.T) {
	m := newManager(t, refusal(http.StatusServiceUnavailable, "ServiceUnavailable"))
	_, err := APIKeys(context.Background(), name, Options{Endpoint: m.url, Timeout: 400 * time.Millisecond, Backoff: time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gave up after") {
		t.Errorf("got %v", err)
	}
	if attempts, _, _ := m.seen(); attempts < 2 {
		t.Errorf("%d attempts", attempts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m = newManager(t, func(int, http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) })
	if _, err := APIKeys(ctx, name, Options{Endpoint: m.url}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller gave up: %v", err)
	}
}

func TestNotAReference(t *testing.T) {
	for _, reference := range []string{"", "a b", "a\n", "ärger", "arn:aws:secretsmanager", "arn:aws:s3:eu-central-1:1:secret:x", "arn:aws:secretsmanager::1:secret:x"} {
		if _, err := APIKeys(context.Background(), reference, Options{Endpoint: "http://192.0.2.1"}); !errors.Is(err, ErrReference) {
			t.Errorf("%q: got %v", reference, err)
		}
	}
}
