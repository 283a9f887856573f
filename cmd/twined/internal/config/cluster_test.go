package config

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestCluster(t *testing.T) {
	cfg := parse(t, "--redis-url", "redis://:secret@10.0.0.9/1", "--api-key", "k", "--redis-replicas", "1",
		"--dynamodb-table", "twine", "--dynamodb-endpoint", "http://127.0.0.1:4567", "--dynamodb-create-table")
	if cfg.RedisURL != "redis://:secret@10.0.0.9/1" || cfg.RedisReplicas != 1 || cfg.DynamoDBTable != "twine" ||
		cfg.DynamoDBEndpoint != "http://127.0.0.1:4567" || !cfg.DynamoDBCreateTable {
		t.Errorf("got %+v", *cfg)
	}
	for name, value := range map[string]string{"REDIS_URL": "rediss://r", "API_KEY_SECRET": "twine/key", "ADVERTISE_URL": "http://10.0.0.1:3005"} {
		t.Setenv("TWINE_"+name, value)
	}
	if cfg := parse(t); cfg.RedisURL != "rediss://r" || cfg.APIKeySecret != "twine/key" || cfg.AdvertiseURL != "http://10.0.0.1:3005" {
		t.Errorf("got %+v", *cfg)
	}
}

func TestClusterRefused(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no key":               {[]string{"--redis-url", "redis://r"}, "same API key"},
		"not Redis":            {[]string{"--redis-url", "http://r", "--api-key", "k"}, "redis://"},
		"no host":              {[]string{"--redis-url", "redis://", "--api-key", "k"}, "has no host"},
		"no URL":               {[]string{"--redis-url", "redis://:hunter2@%zz", "--api-key", "k"}, "is not a URL"},
		"replicas without":     {[]string{"--redis-replicas", "1"}, "--redis-url is missing"},
		"negative replicas":    {[]string{"--redis-url", "redis://r", "--api-key", "k", "--redis-replicas=-1"}, "negative"},
		"advertise without":    {[]string{"--advertise-url", "http://x"}, "--redis-url is missing"},
		"advertise no address": {[]string{"--redis-url", "redis://r", "--api-key", "k", "--advertise-url", "10.0.0.1:3005"}, "--advertise-url"},
		"endpoint without":     {[]string{"--dynamodb-endpoint", "http://x"}, "--dynamodb-table is missing"},
		"creation without":     {[]string{"--dynamodb-create-table"}, "--dynamodb-table is missing"},
		"endpoint no address":  {[]string{"--dynamodb-table", "t", "--dynamodb-endpoint", "localhost"}, "--dynamodb-endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse(test.args, "test", io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestAdvertise(t *testing.T) {
	for listening, want := range map[string]string{
		"10.0.0.5:3005": "http://10.0.0.5:3005",
		"[::1]:3005":    "http://[::1]:3005",
		"0.0.0.0:3005":  "http://127.0.0.1:3005", // the way to Redis
		"[::]:3005":     "http://127.0.0.1:3005",
	} {
		address, err := net.ResolveTCPAddr("tcp", listening)
		if err != nil {
			t.Fatal(err)
		}
		cfg := parse(t, "--redis-url", "redis://127.0.0.1:6379", "--api-key", "k")
		if err := cfg.Advertise(address); err != nil || cfg.AdvertiseURL != want {
			t.Errorf("%s: %q, %v", listening, cfg.AdvertiseURL, err)
		}
	}
	alone := parse(t)
	if err := alone.Advertise(&net.TCPAddr{}); err != nil || alone.AdvertiseURL != "" {
		t.Errorf("alone: %q, %v", alone.AdvertiseURL, err)
	}
}
