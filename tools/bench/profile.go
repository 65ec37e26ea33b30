package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// profiled are the scenarios whose profiles make cmd/weir/default.pgo, by which the compiler optimises.
const profiled = "http1,routes,h2-h1,grpc,https"

// writeProfile loads weir alone in the profiled scenarios and writes the sum of its CPU profiles to path.
func writeProfile(ctx context.Context, s settings, path string) (err error) {
	dir, err := os.MkdirTemp("", "weir-profile-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	chosen, err := choose(scenarios(), profiled)
	if err != nil {
		return err
	}
	s.rounds = 1
	merge := []string{"tool", "pprof", "-proto", "-output", path}
	for i := range chosen {
		sc := &chosen[i]
		sc.peers, sc.profile = []string{"weir"}, filepath.Join(dir, sc.name)
		if _, err := runScenario(ctx, s, sc); err != nil {
			return fmt.Errorf("scenario %s: %w", sc.name, err)
		}
		merge = append(merge, sc.profile)
	}
	if out, err := exec.CommandContext(ctx, "go", merge...).CombinedOutput(); err != nil {
		return fmt.Errorf("merge profiles: %w: %s", err, out)
	}
	return nil
}

// profiling runs work with weir's CPU profiler on, when the scenario wants a profile.
func (b *bench) profiling(ctx context.Context, work func() error) error {
	if b.scenario.profile == "" {
		return work()
	}
	if err := post(ctx, "/cpuprofiler?enable=y"); err != nil {
		return err
	}
	err := work()
	if err = errors.Join(err, post(ctx, "/cpuprofiler?enable=n")); err != nil {
		return err
	}
	return copyFile(filepath.Join(b.dir, "weir", profileName), b.scenario.profile)
}

// profileName is where weir's admin interface writes its profile.
const profileName = "cpu.prof"

const adminPort = 19089

func post(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", adminPort, path), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("post %s: %s", path, resp.Status)
	}
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read profile: %w", err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}
