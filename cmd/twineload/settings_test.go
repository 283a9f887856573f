package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, args string) *settings {
	t.Helper()
	s, err := parseSettings(strings.Fields(args), io.Discard)
	if err != nil {
		t.Fatalf("%s: %v", args, err)
	}
	return s
}

func TestPresets(t *testing.T) {
	one := parse(t, "--preset phase-one")
	if one.Users != 96_000 || one.Local < 5 || one.Rooms != 960 || one.messages() != 1 {
		t.Errorf("%+v", one)
	}
	two := parse(t, "--preset phase-two --scale 0.1 --publish 20s")
	if two.Users != 4080 || two.Rooms != 4080 || two.Cluster != 3 || two.Keys || two.Batch != 41 || two.lanes() != 100 || two.Publish != 20*time.Second || two.Ramp != 24*time.Second || two.messages() != 20 {
		t.Errorf("%+v", two)
	}
	if full := parse(t, "--preset phase-two"); full.Users != 40_800 || full.Batch != 408 || full.messages() != 300 || !full.clustered() {
		t.Errorf("%+v", full)
	}
	kill := parse(t, "--preset node-kill")
	if kill.Users != 15_000 || kill.Cluster != 3 || kill.KillAfter != 10*time.Second || kill.KillNode != 0 || kill.Batch != 1 {
		t.Errorf("%+v", kill)
	}
	if own := parse(t, "--preset phase-one --cluster 7"); own.Local != 0 || own.Cluster != 7 {
		t.Errorf("%+v", own)
	}
	storm := parse(t, "--preset storm --scale 0.01 --url http://127.0.0.1:3005/ --api-key k")
	if storm.Users != 190 || storm.Local != 0 || storm.Cut != 1 || storm.CutNode != 0 || storm.nodes[0] != (node{"http://127.0.0.1:3005", "127.0.0.1:3005", "127.0.0.1:3005"}) {
		t.Errorf("%+v", storm)
	}
}

func TestUsersAreDividedAmongWorkers(t *testing.T) {
	s := parse(t, "--url http://127.0.0.1:1 --url http://127.0.0.1:2 --api-key k --users 5000 --workers 3 --sources 2")
	if s.Workers != 3 || len(s.sources) != 2 || s.sources[1] != "127.0.0.2" {
		t.Errorf("%+v", s)
	}
	seen := make(map[int]bool)
	for w := range 3 {
		a := assignment{Worker: w, Workers: 3, Users: s.Users}
		for i := range a.share() {
			seen[a.user(i)] = true
		}
	}
	if len(seen) != 5000 || !seen[0] || !seen[4999] {
		t.Errorf("%d users", len(seen))
	}
	limit, err := fileLimit()
	if err != nil {
		t.Fatal(err)
	}
	if many := parse(t, "--local 100 --users 100000 --transport mixed"); many.Workers < 150_000/limit || len(many.sources) < many.Workers {
		t.Errorf("%d workers, %d sources with %d files", many.Workers, len(many.sources), limit)
	}
}

func TestPlacement(t *testing.T) {
	alone := assignment{Users: 100, Rooms: 10, Nodes: make([]node, 3), Transport: "mixed"}
	polling := 0
	for u := range alone.Users {
		if alone.nodeOf(u) != alone.room(u)%3 {
			t.Errorf("user %d is not where its room is", u)
		}
		if alone.polling(u) {
			polling++
		}
	}
	if polling != 50 {
		t.Errorf("%d of 100 poll", polling)
	}
	cluster := alone
	cluster.Cluster = true
	nodes := map[int]bool{}
	for u := 0; u < 100; u += 10 {
		nodes[cluster.nodeOf(u)] = true
	}
	if len(nodes) != 3 {
		t.Errorf("the users of a room are on %d nodes", len(nodes))
	}
	alike := cluster
	alike.Rooms = alike.Users
	each := map[int]int{}
	for u := range alike.Users {
		each[alike.nodeOf(u)]++
	}
	if each[0] != 34 || each[1] != 33 || each[2] != 33 {
		t.Errorf("users with rooms of their own are on %v", each)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	const url = "--url http://127.0.0.1:3005 --api-key k "
	for args, says := range map[string]string{
		"":                                                 "say where",
		"--local 1 --url http://x":                         "exclude each other",
		"--url http://127.0.0.1:1":                         "--api-key is missing",
		"--url https://127.0.0.1 --api-key k":              "TLS",
		"--url ws://127.0.0.1 --api-key k":                 "http://HOST:PORT",
		"--url http://127.0.0.1/a --api-key k":             "nothing but host and port",
		"--url http://[::1]:1 --api-key k":                 "no IPv4 address",
		url + "--twined x":                                 "go with --local",
		url + "--users 0":                                  "--users",
		url + "--users 2000000":                            "--users",
		url + "--users 10 --rooms 11":                      "more than 10 users",
		url + "--url http://127.0.0.1:2 --rooms 1":         "without users",
		url + "--rate 0":                                   "--rate",
		url + "--rate NaN":                                 "--rate",
		url + "--rate 30000":                               "--rate",
		url + "--rate 0.01":                                "there is none",
		url + "--rate 100 --rooms 1000 --publish 1h":       "keeps account",
		url + "--rate 1 --rooms 1000 --publish 1h":         "with --batch",
		url + "--batch 1001":                               "--batch",
		url + "--batch 200 --size 6000":                    "more than a request may have",
		url + "--redis-arg x":                              "goes with --cluster",
		url + "--kill-after 1s":                            "goes with --cluster",
		"--clustered --local 1":                            "goes with --url",
		"--cluster 2 --local 1":                            "exclude each other",
		"--cluster 3 --kill-after 11s":                     "publishing ends",
		"--cluster 3 --kill-after 1s --kill-node 3":        "no server 3",
		url + "--size 100000":                              "--size",
		url + "--ramp -1s":                                 "--ramp",
		url + "--hold 23h --ramp 2h":                       "more than 24h",
		url + "--cut 1.5":                                  "--cut",
		url + "--cut 0.5 --cut-after 1m":                   "publishing ends",
		url + "--cut-node 1":                               "no server 1",
		url + "--transport carrier-pigeon":                 "transport",
		url + "--scale 0.5":                                "goes with --preset",
		url + "--preset storm --scale 0":                   "--scale",
		url + "--preset holiday":                           "preset",
		url + "--backoff 0s":                               "--backoff",
		url + "--source x":                                 "IPv4",
		url + "--source 127.0.0.1 --sources 3":             "exclude each other",
		"--url http://192.0.2.1 --api-key k --sources 3":   "reaches no server",
		"--url http://192.0.2.1 --api-key k --users 90000": "own addresses",
		"--local 1 --users 900000 --workers 64":            "--local",
		url + "--users 1000000 --workers 1":                "too few",
		url + "extra":                                      "unexpected argument",
	} {
		s, err := parseSettings(strings.Fields(args), io.Discard)
		if err == nil {
			t.Errorf("%q: accepted as %+v", args, s)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", args, err, says)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parseSettings([]string{"--help"}, &out); err != errHelp || !strings.Contains(out.String(), "phase-two") {
		t.Errorf("%v, %s", err, out.String())
	}
}
