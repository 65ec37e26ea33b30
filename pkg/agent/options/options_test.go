package options

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args []string
		want func(*Options)
	}{
		"short":            {[]string{"-c", "f.yaml", "-l", "debug"}, func(o *Options) { o.ConfigPath, o.LogLevel = "f.yaml", slog.LevelDebug }},
		"with equals sign": {[]string{"--config-path=f.yaml"}, func(o *Options) { o.ConfigPath = "f.yaml" }},
		"after the dashes": {[]string{"-c", "f.yaml", "--", "--no-such-flag"}, func(o *Options) { o.ConfigPath = "f.yaml" }},
		"istio agent": {
			[]string{
				"-c", "f", "--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4",
				"--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning",
				"--component-log-level", "misc:error", "--concurrency", "2", "--skip-deprecated-logs",
			},
			func(o *Options) {
				o.ConfigPath, o.DrainTime, o.DrainImmediately, o.FileFlushInterval = "f", 45*time.Second, true, time.Second
				o.HotRestartDisabled, o.AllowUnknownStatic, o.LogLevel, o.Concurrency = true, true, slog.LevelWarn, 2
				o.ComponentLogText, o.ComponentLogLevels = "misc:error", map[string]slog.Level{"misc": slog.LevelError}
				o.WithoutMeaning = []string{
					"--skip-deprecated-logs: weir does not log deprecated fields twice",
				}
			},
		},
		"version needs no configuration": {[]string{"--version"}, func(o *Options) { o.Version = true }},
		"stats tags":                     {[]string{"-c", "f", "--stats-tag", "a:b", "--stats-tag", "c:d"}, func(o *Options) { o.ConfigPath, o.StatsTags = "f", []StatsTag{{"a", "b"}, {"c", "d"}} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			tt.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want []string
	}{
		"nothing":         {nil, []string{"at least one of --config-path"}},
		"all at once":     {[]string{"--moed", "validate", "--concurrency", "many", "-c"}, []string{"unknown argument \"--moed\"", "--concurrency: want a whole number", "-c wants a value: FILE"}},
		"suggestion":      {[]string{"-c", "f", "--config-pth", "x"}, []string{"did you mean --config-path?"}},
		"switch value":    {[]string{"-c", "f", "--version=1"}, []string{"--version takes no value"}},
		"bad mode":        {[]string{"-c", "f", "--mode", "run"}, []string{"--mode: want serve, validate or init_only"}},
		"both log styles": {[]string{"-c", "f", "--component-log-level", "upstream:debug", "--enable-fine-grain-logging"}, []string{"cannot be used with"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tt.args)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestUsageNamesEveryFlag(t *testing.T) {
	var b bytes.Buffer
	Usage(&b)
	for _, f := range flags() {
		if !strings.Contains(b.String(), "--"+f.name) {
			t.Errorf("the help does not name --%s", f.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-c\x00f\x00--mode\x00validate")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := Parse(strings.Split(line, "\x00"))
		if err == nil && o.ConfigPath == "" && o.ConfigYAML == "" && !o.Version && !o.Help && !o.HotRestartVersion {
			t.Error("accepted without a configuration")
		}
	})
}
