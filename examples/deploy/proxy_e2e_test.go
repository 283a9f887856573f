//go:build e2e

package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Where the settings in this folder say that the nodes are.
const (
	node1 = "192.0.2.11:3005"
	node2 = "192.0.2.12:3005"
)

// proxy is a real HAProxy or nginx with the settings of this folder.
type proxy struct {
	*process
	plain, tls  string // where it listens
	certificate string // file with what proves who it is
	client      *http.Client
}

func (p *proxy) url() string { return "https://" + p.tls }

// proxies start each kind of proxy before two nodes, by the kind of routing and then the proxy's name.
var proxies = map[string]map[string]func(t *testing.T, first, second string) *proxy{
	"sticky":      {"haproxy": haproxy("haproxy-sticky.cfg"), "nginx": nginx("twine-sticky.conf")},
	"round robin": {"haproxy": haproxy("haproxy-roundrobin.cfg"), "nginx": nginx("twine-roundrobin.conf")},
}

// newProxy makes a certificate, and finds ports.
func newProxy(t *testing.T) (p *proxy, folder string) {
	t.Helper()
	folder = t.TempDir()
	p = &proxy{plain: freeAddress(t), tls: freeAddress(t), certificate: filepath.Join(folder, "twine.crt")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "twine"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, request, request, &key.PublicKey, key)
	secret, err2 := x509.MarshalECPrivateKey(key)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	for name, content := range map[string][]byte{
		"twine.crt": public, "twine.key": private, "twine.pem": append(append([]byte(nil), public...), private...),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	p.client = &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, folder
}

// run starts the proxy, and waits until it takes connections.
func (p *proxy) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	p.process = start(t, cmd, syscall.SIGTERM)
	t.Cleanup(p.client.CloseIdleConnections)
	eventually(t, "the proxy listens", func() bool {
		if p.hasExited() {
			t.Fatalf("the proxy does not start: %q", p.lines(&p.stderr))
		}
		conn, err := net.Dial("tcp", p.tls)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func haproxy(settings string) func(t *testing.T, first, second string) *proxy {
	return func(t *testing.T, first, second string) *proxy {
		t.Helper()
		p, folder := newProxy(t)
		cmd := exec.Command("haproxy", "-db", "-f", filepath.Join("haproxy", settings))
		cmd.Env = append(os.Environ(), "TWINE_HTTP="+p.plain, "TWINE_HTTPS="+p.tls, "TWINE_NODE_1="+first, "TWINE_NODE_2="+second,
			"TWINE_CERTIFICATE="+filepath.Join(folder, "twine.pem"))
		p.run(t, cmd)
		return p
	}
}

func nginx(settings string) func(t *testing.T, first, second string) *proxy {
	return func(t *testing.T, first, second string) *proxy {
		t.Helper()
		p, folder := newProxy(t)
		text, err := os.ReadFile(filepath.Join("nginx", settings))
		if err != nil {
			t.Fatal(err)
		}
		site := string(text)
		for from, to := range map[string]string{
			"listen 80;": "listen " + p.plain + ";", "listen 443 ssl;": "listen " + p.tls + " ssl;", node1: first, node2: second,
			"/etc/nginx/twine.": folder + "/twine.",
		} {
			if !strings.Contains(site, from) {
				t.Fatalf("%s has no %s", settings, from)
			}
			site = strings.ReplaceAll(site, from, to)
		}
		// What Debian's nginx.conf would have around it, in a folder of the test's own.
		whole := fmt.Sprintf("pid %[1]s/pid;\nerror_log stderr;\ndaemon off;\nevents { worker_connections 512; }\nhttp {\naccess_log off;\n", folder)
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			whole += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, folder, kind)
		}
		path := filepath.Join(folder, "nginx.conf")
		if err := os.WriteFile(path, []byte(whole+site+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		user := ""
		if os.Geteuid() == 0 {
			user = "user root; " // its workers have to reach the test's folder
		}
		p.run(t, exec.Command("nginx", "-e", "stderr", "-p", folder, "-c", path, "-g", user))
		return p
	}
}

// HAProxy takes the settings of the composition, whose nodes have names only there.
func TestHAProxyTakesTheCompositionsSettings(t *testing.T) {
	cmd := exec.Command("haproxy", "-c", "-f", filepath.Join(composeFolder, "haproxy.cfg"))
	cmd.Env = append(os.Environ(), "TWINE_NODE_1=127.0.0.1:3005", "TWINE_NODE_2=127.0.0.1:3006")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
