package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The test binary stands in for the command when it is started as a server under test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestSettings(t *testing.T) {
	for args, want := range map[string]settings{
		"":                              {Clients: 5000, Rounds: 3, Paced: 30, Settle: 4 * time.Second},
		"--quick":                       {Clients: 1000, Rounds: 1, Paced: 9, Settle: time.Second},
		"--quick --clients=7":           {Clients: 7, Rounds: 1, Paced: 9, Settle: time.Second},
		"--clients 7 --rounds 2":        {Clients: 7, Rounds: 2, Paced: 30, Settle: 4 * time.Second},
		"-rounds=2 --quick --clients=7": {Clients: 7, Rounds: 2, Paced: 9, Settle: time.Second},
	} {
		got, err := parseSettings(strings.Fields(args), nil)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if got.Clients != want.Clients || got.Rounds != want.Rounds || got.Paced != want.Paced || got.Settle != want.Settle {
			t.Errorf("%q: got %+v", args, got)
		}
		if strings.Join(got.servers, " ") != "twine recovery node centrifuge" || strings.Join(got.scenarios, " ") != "publish http restore replay streams node-streams" || got.micro || got.MessageSize != 100 {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	for args, want := range map[string]string{
		"--servers twine,node": "", "--servers= --scenarios replay": "replay", "--scenarios=": "", "--scenarios http": "http",
	} {
		if got, err := parseSettings(strings.Fields(args), nil); err != nil || strings.Join(got.scenarios, " ") != want {
			t.Errorf("%q: scenarios %q, %v", args, got.scenarios, err)
		}
	}
	got, err := parseSettings(strings.Fields("--quick --out dir --json=file --clients 7"), nil)
	if err != nil || strings.Join(got.options, " ") != "--clients=7 --quick" || !got.micro {
		t.Errorf("%+v, %v", got, err)
	}
	for _, args := range []string{"more", "--clients 0", "--rounds 0", "--unknown"} {
		if _, err := parseSettings(strings.Fields(args), &strings.Builder{}); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
