package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// validateCluster checks what concerns Redis and DynamoDB, and fills in where the other nodes reach this one.
func (c *Config) validateCluster() error {
	if c.DynamoDBTable == "" && (c.DynamoDBEndpoint != "" || c.DynamoDBCreateTable) {
		return errors.New("--dynamodb-table is missing, which --dynamodb-endpoint and --dynamodb-create-table are about")
	}
	if c.DynamoDBEndpoint != "" {
		if err := validAddress(c.DynamoDBEndpoint); err != nil {
			return fmt.Errorf("--dynamodb-endpoint: %w", err)
		}
	}
	if c.RedisURL == "" {
		switch {
		case c.RedisReplicas != 0:
			return errors.New("--redis-url is missing, which --redis-replicas is about")
		case c.AdvertiseURL != "":
			return errors.New("--redis-url is missing: without it there is no other node that --advertise-url could be told")
		}
		return nil
	}
	u, err := url.Parse(c.RedisURL)
	switch {
	case err != nil:
		return errors.New("--redis-url: is not a URL") // which is not repeated, for it may have a password
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return fmt.Errorf("--redis-url: begins with %q, and should with redis:// or rediss://", u.Scheme)
	case u.Host == "":
		return errors.New("--redis-url: has no host")
	case c.RedisReplicas < 0:
		return fmt.Errorf("--redis-replicas: %d is negative", c.RedisReplicas)
	case len(c.APIKey) == 0 && c.APIKeySecret == "":
		return errors.New("--redis-url: the nodes of a cluster have to have the same API key; set it with --api-key or --api-key-secret")
	}
	if c.AdvertiseURL != "" {
		if err := validAddress(c.AdvertiseURL); err != nil {
			return fmt.Errorf("--advertise-url: %w", err)
		}
	}
	return nil
}

func validAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return fmt.Errorf("%q is not an address like http://10.0.0.5:3005", address)
	}
	return nil
}

// Advertise fills in AdvertiseURL, unless it is set, from the address that the daemon listens on. Of a node that listens on all
// addresses it takes the one that leads to Redis.
func (c *Config) Advertise(listening net.Addr) error {
	if c.RedisURL == "" || c.AdvertiseURL != "" {
		return nil
	}
	tcp, ok := listening.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("--advertise-url is needed when listening on %s", listening)
	}
	ip := tcp.IP
	if ip.IsUnspecified() {
		u, err := url.Parse(c.RedisURL)
		if err != nil {
			return errors.New("--redis-url: is not a URL")
		}
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)) // nothing is sent
		if err != nil {
			return fmt.Errorf("cannot find out where other nodes reach this one, set --advertise-url: %w", err)
		}
		defer conn.Close()
		ip = conn.LocalAddr().(*net.UDPAddr).IP
	}
	c.AdvertiseURL = "http://" + net.JoinHostPort(ip.String(), fmt.Sprint(tcp.Port))
	return nil
}
