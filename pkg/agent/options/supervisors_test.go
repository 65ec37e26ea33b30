package options

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSupervisors replays the command lines by which the agents of control planes start Envoy.
func TestSupervisors(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want Options
		// without counts the flags without meaning.
		without int
	}{
		{
			"istio: pilot-agent",
			[]string{
				"-c", "etc/istio/proxy/envoy-rev.json", "--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4",
				"--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning",
				"--component-log-level", "misc:error", "--config-yaml", `{"node": {"id": "x"}}`, "--concurrency", "2",
				"--skip-deprecated-logs", "--file-flush-min-size-kb", "64",
			},
			Options{
				ConfigPath: "etc/istio/proxy/envoy-rev.json", DrainTime: 45 * time.Second, DrainImmediately: true, FileFlushInterval: time.Second,
				AllowUnknownStatic: true, ConfigYAML: `{"node": {"id": "x"}}`, Concurrency: 2, LogLevel: slog.LevelWarn,
			},
			2,
		},
		{
			"envoy gateway",
			[]string{
				"--service-cluster", "default/eg", "--service-node", "$(ENVOY_POD_NAME)", "--config-yaml", "admin: {}", "--log-level", "warn",
				"--cpuset-threads", "--drain-strategy", "immediate", "--drain-time-s", "60", "--component-log-level", "misc:error",
			},
			Options{
				ServiceCluster: "default/eg", ServiceNode: "$(ENVOY_POD_NAME)", ConfigYAML: "admin: {}", DrainImmediately: true,
				DrainTime: time.Minute, LogLevel: slog.LevelWarn,
			},
			1,
		},
		{
			"contour",
			[]string{"-c", "/config/envoy.json", "--service-cluster", "$(CONTOUR_NAMESPACE)", "--service-node", "$(ENVOY_POD_NAME)", "--log-level", "info"},
			Options{ConfigPath: "/config/envoy.json", ServiceCluster: "$(CONTOUR_NAMESPACE)", ServiceNode: "$(ENVOY_POD_NAME)", DrainTime: 10 * time.Minute},
			0,
		},
		{
			"kuma-dp",
			[]string{
				"--config-path", "/tmp/kuma-dp/bootstrap.yaml", "--drain-time-s", "30", "--drain-strategy", "immediate", "--disable-hot-restart",
				"--log-level", "off", "--component-log-level", "upstream:debug,connection:trace", "--concurrency", "4", "--cpuset-threads",
			},
			Options{
				ConfigPath: "/tmp/kuma-dp/bootstrap.yaml", DrainTime: 30 * time.Second, DrainImmediately: true, Concurrency: 4, LogLevel: levelOf(t, "off"),
			},
			1,
		},
		{
			"consul: dataplane and connect envoy",
			[]string{
				"--config-path", "/dev/fd/7", "--concurrency", "2", "--log-level", "info", "--log-format", "%Y-%m-%dT%T.%eZ%z [%l] envoy.%n(%t) %v",
				"--disable-hot-restart", "--drain-time-s", "60", "--drain-strategy", "immediate", "--base-id", "1", "--restart-epoch", "0",
			},
			Options{
				ConfigPath: "/dev/fd/7", Concurrency: 2, DrainTime: time.Minute, DrainImmediately: true, LogFormat: "%Y-%m-%dT%T.%eZ%z [%l] envoy.%n(%t) %v",
			},
			0,
		},
		{
			"gloo: envoyinit",
			[]string{"--config-yaml", "node: {}", "--disable-hot-restart", "--log-level", "info", "--service-node", "gw.ns", "--service-cluster", "gateway"},
			Options{ConfigYAML: "node: {}", ServiceNode: "gw.ns", ServiceCluster: "gateway", DrainTime: 10 * time.Minute},
			0,
		},
		{
			"hot restarter",
			[]string{
				"-c", "e.yaml", "--restart-epoch", "1", "--parent-shutdown-time-s", "90", "--drain-time-s", "60", "--socket-path", "@x", "--socket-mode", "0600",
				"--use-dynamic-base-id", "--base-id-path", "/tmp/id", "--skip-hot-restart-on-no-parent", "--skip-hot-restart-parent-stats",
			},
			Options{ConfigPath: "e.yaml", DrainTime: time.Minute},
			0,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse(tc.args)
			if err != nil {
				t.Fatal(err)
			}
			short := func(o *Options) Options {
				return Options{
					ConfigPath: o.ConfigPath, ConfigYAML: o.ConfigYAML, ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster,
					DrainTime: o.DrainTime, DrainImmediately: o.DrainImmediately, Concurrency: o.Concurrency, LogLevel: o.LogLevel,
					AllowUnknownStatic: o.AllowUnknownStatic,
				}
			}
			if diff := cmp.Diff(short(&tc.want), short(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if tc.want.LogFormat != "" && got.LogFormat != tc.want.LogFormat {
				t.Errorf("log format %q", got.LogFormat)
			}
			if len(got.WithoutMeaning) != tc.without {
				t.Errorf("without meaning: %q, want %d", got.WithoutMeaning, tc.without)
			}
		})
	}
}

func levelOf(t *testing.T, name string) slog.Level {
	t.Helper()
	o := &Options{}
	if err := setLogLevel(o, name); err != nil {
		t.Fatal(err)
	}
	return o.LogLevel
}

// TestEveryFlagOfEnvoy checks that no flag of Envoy 1.32, nor those that agents of newer ones pass, is unknown.
func TestEveryFlagOfEnvoy(t *testing.T) {
	known := map[string]bool{}
	for _, f := range flags() {
		known[f.name] = true
	}
	for _, name := range []string{
		"config-path", "config-yaml", "mode", "admin-address-path", "local-address-ip-version", "base-id", "use-dynamic-base-id",
		"skip-hot-restart-on-no-parent", "skip-hot-restart-parent-stats", "base-id-path", "concurrency", "log-level", "component-log-level",
		"cpuset-threads", "log-path", "log-format", "log-format-escaped", "restart-epoch", "enable-fine-grain-logging", "socket-path",
		"socket-mode", "hot-restart-version", "service-cluster", "service-node", "service-zone", "file-flush-interval-msec", "drain-time-s",
		"drain-strategy", "parent-shutdown-time-s", "disable-hot-restart", "enable-mutex-tracing", "allow-unknown-fields",
		"allow-unknown-static-fields", "reject-unknown-dynamic-fields", "ignore-unknown-dynamic-fields", "disable-extensions", "version",
		"enable-core-dump", "stats-tag", "help", "skip-deprecated-logs", "file-flush-min-size-kb",
	} {
		if !known[name] {
			t.Errorf("--%s is unknown", name)
		}
	}
}
