package check

import (
	"context"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func config() Config {
	return Config{
		Clients: 20, Rooms: 6, RoomsPerClient: 3, Publishers: 4, Rate: 400, Duration: 2 * time.Second, Padding: 8,
		Cuts: 150, Kills: 2, Down: 50 * time.Millisecond, Silence: 50 * time.Millisecond, Backoff: 30 * time.Millisecond,
		PublishTimeout: 300 * time.Millisecond, Quiet: 200 * time.Millisecond, Settle: 500 * time.Millisecond, Seed: 1,
	}
}

func check(t *testing.T, c Config, f flaws) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	server := newFake(f)
	result, err := Run(ctx, c, server)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d of %d deliveries, %d cuts %v, %d recovered, %d not, told %d, lost %d, twice %d, disorder %d, retries %d",
		result.Deliveries, result.Expected, result.CutsSum, result.Cuts, result.Recovered, result.Unrecovered, result.Told,
		result.Lost, result.Twice, result.Disorder, result.Retries)
	return result
}

func TestServerWithoutFlaws(t *testing.T) {
	c := config()
	c.Settle = 2 * time.Minute
	r := check(t, c, flaws{})
	if !r.OK() {
		t.Errorf("accused: %+v", r.Report)
	}
	if r.Unsettled != "" || r.Accepted != r.Messages || r.Deliveries != r.Expected || r.Told != 0 || r.Unrecovered != 0 {
		t.Errorf("not everything came: %+v", r)
	}
	for kind, n := range r.Cuts {
		if n == 0 {
			t.Errorf("no cut of kind %s", kind)
		}
	}
	if r.Recovered < 50 || r.SIGKILLs != 1 || r.SIGTERMs != 1 || r.Retries == 0 {
		t.Errorf("not much happened: %+v", r)
	}
}

// Sessions that are gone are a nuisance, but not a lie.
func TestServerThatForgetsSessions(t *testing.T) {
	c := config()
	c.Settle = 2 * time.Minute
	r := check(t, c, flaws{forget: true})
	if !r.OK() || r.Told == 0 || r.Unrecovered == 0 || r.Recovered != 0 {
		t.Errorf("got %+v", r.Report)
	}
}

func TestServerWithFlaws(t *testing.T) {
	lost := func(r *Result) int { return r.Lost }
	twice := func(r *Result) int { return r.Twice }
	for _, test := range []struct {
		name  string
		flaws flaws
		count func(r *Result) int
		only  bool // no violation of another kind
	}{
		{"loses messages", flaws{lose: 0.01}, lost, true},
		{"repeats messages", flaws{repeat: 0.01}, twice, true},
		{"swaps messages", flaws{swap: 0.05}, func(r *Result) int { return r.Disorder }, false},
		{"leaks messages", flaws{leak: 0.01}, func(r *Result) int { return r.Foreign }, false},
		{"forges messages", flaws{forge: 0.01}, func(r *Result) int { return r.Unpublished }, false},
		{"ignores idempotency keys", flaws{ignoreKeys: true}, twice, false},
		{"restores without replay", flaws{claimAll: true}, lost, true},
		{"replays before CONNECT", flaws{replayBeforeConnect: true}, twice, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config()
			if test.flaws.repeat > 0 {
				c.Settle = 2 * time.Minute // what is late would be called lost
			}
			r := check(t, c, test.flaws)
			n := test.count(r)
			if n == 0 {
				t.Errorf("not found: %+v", r.Report)
			}
			if test.only && r.Violations() != n {
				t.Errorf("accused of more: %+v", r.Report)
			}
		})
	}
}

func TestImpossibleConfig(t *testing.T) {
	for _, spoil := range []func(c *Config){
		func(c *Config) { c.Clients = 0 },
		func(c *Config) { c.Rooms = 70_000 },
		func(c *Config) { c.Rate = 0 },
		func(c *Config) { c.Cuts = -1 },
		func(c *Config) { c.Settle = 0 },
	} {
		c := config()
		spoil(&c)
		if _, err := Run(t.Context(), c, newFake(flaws{})); err == nil {
			t.Errorf("no error for %+v", c)
		}
	}
}
