package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes where the figures come from, without saying whose it is.
type machine struct {
	CPUs    int    `json:"cpus"`
	CPU     string `json:"cpu"`
	Memory  int64  `json:"memory_bytes"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Node    string `json:"node,omitempty"`
	Redis   string `json:"redis,omitempty"`
	Servers string `json:"servers"` // with their versions
}

// versionTimeout bounds a program that says its version.
const versionTimeout = 5 * time.Second

// describeMachine leaves out what it cannot find.
func describeMachine(ctx context.Context, results []*result) *machine {
	m := &machine{
		CPUs: runtime.NumCPU(), CPU: cpuModel(readFile("/proc/cpuinfo")), Memory: memoryTotal(readFile("/proc/meminfo")),
		Kernel: strings.TrimSpace(string(readFile("/proc/sys/kernel/ostype")) + " " + kernelVersion(string(readFile("/proc/sys/kernel/osrelease")))),
		Go:     runtime.Version(), Node: programVersion(ctx, "node"), Redis: redisVersion(programVersion(ctx, "redis-server")),
	}
	m.Kernel = strings.Join(strings.Fields(m.Kernel), " ")
	var servers []string
	for _, r := range results {
		servers = append(servers, r.Server+": "+r.Name)
	}
	m.Servers = strings.Join(servers, "; ")
	return m
}

func readFile(name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return text
}

// cpuModel finds the name of the first processor.
func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "unknown, " + runtime.GOARCH
}

// memoryTotal returns bytes.
func memoryTotal(meminfo []byte) int64 {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) >= 2 && string(fields[0]) == "MemTotal:" {
			kb, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// kernelVersion takes off what distributors and operators append, which may name them.
func kernelVersion(release string) string {
	version, _, _ := strings.Cut(strings.TrimSpace(release), "-")
	return version
}

// programVersion returns the first line of what a program says of its version, or nothing if it is not there.
func programVersion(ctx context.Context, program string) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// redisVersion finds the number in "Redis server v=7.0.15 sha=…".
func redisVersion(line string) string {
	for _, field := range strings.Fields(line) {
		if version, ok := strings.CutPrefix(field, "v="); ok {
			return version
		}
	}
	return line
}

func (m *machine) String() string {
	parts := []string{fmt.Sprintf("%d × %s", m.CPUs, m.CPU), fmt.Sprintf("%.0f GB", float64(m.Memory)/1e9), m.Kernel, m.Go}
	if m.Node != "" {
		parts = append(parts, "Node "+m.Node)
	}
	if m.Redis != "" {
		parts = append(parts, "Redis "+m.Redis)
	}
	return strings.Join(parts, ", ")
}
