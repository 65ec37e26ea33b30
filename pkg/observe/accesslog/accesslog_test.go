package accesslog_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func decode(t *testing.T, name string, m proto.Message, text string) any {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	for _, f := range accesslog.Factories() {
		if f.Name == name {
			v, err := f.Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no factory %s", name)
	return nil
}

func entry(status int) *format.Context {
	req := &message.Request{Method: "GET", Path: "/"}
	req.Headers.Add("x-a", "1")
	return &format.Context{Info: &streaminfo.Info{ResponseCode: status, Duration: 5 * time.Millisecond}, Request: req, Type: format.DownstreamEnd}
}

func TestFileAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	cfg := decode(t, "envoy.access_loggers.file", &filev3.FileAccessLog{},
		`{"path": "`+path+`", "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE%\n"}}}`)
	store := stats.NewStore()
	m := accesslog.NewManager(accesslog.Options{Stats: store.Root(), FlushInterval: time.Hour})
	logs, err := m.Build([]*model.AccessLog{{Name: "a", Config: cfg}, {Name: "b", Config: cfg}})
	if err != nil {
		t.Fatal(err)
	}
	logs.Log(entry(200))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	logs.Log(entry(404)) // before the reopening: belongs to the old file
	if err := m.Reopen(); err != nil {
		t.Fatal(err)
	}
	logs.Log(entry(500))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "200\n200\n404\n404\n", path: "500\n500\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := m.Build([]*model.AccessLog{{Config: &accesslog.File{Path: filepath.Join(path, "x")}}}); err == nil {
		t.Error("a closed manager opens files")
	}
}

func TestFlushBySizeAndTime(t *testing.T) {
	f, err := format.Compile(strings.Repeat("x", 1023) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	m := accesslog.NewManager(accesslog.Options{FlushInterval: 20 * time.Millisecond})
	logs, err := m.Build([]*model.AccessLog{{Config: &accesslog.File{Path: path, Format: f}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		logs.Log(entry(200))
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		info, err := os.Stat(path)
		if err == nil && info.Size() == 10_000*1024 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, %v", info, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStandardStream(t *testing.T) {
	var out bytes.Buffer
	cfg := decode(t, "envoy.access_loggers.stdout", accesslog.Factories()[1].Config, `{"log_format": {"json_format": {"code": "%RESPONSE_CODE%"}}}`)
	m := accesslog.NewManager(accesslog.Options{Stdout: &out})
	logs, err := m.Build([]*model.AccessLog{{Config: cfg}})
	if err != nil {
		t.Fatal(err)
	}
	logs.Log(entry(200))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "{\"code\":200}\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestFilters(t *testing.T) {
	for _, tc := range []struct {
		filter  string
		yes, no func(*format.Context)
	}{
		{
			`{"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500}}}}`,
			func(c *format.Context) { c.Info.ResponseCode = 500 }, func(c *format.Context) { c.Info.ResponseCode = 499 },
		},
		{
			`{"duration_filter": {"comparison": {"op": "LE", "value": {"default_value": 5}}}}`,
			nil, func(c *format.Context) { c.Info.Duration = 6 * time.Millisecond },
		},
		{`{"not_health_check_filter": {}}`, nil, func(c *format.Context) { c.Info.HealthCheck = true }},
		{
			`{"response_flag_filter": {"flags": ["UH", "NR"]}}`,
			func(c *format.Context) { c.Info.Flags = streaminfo.NoRouteFound }, func(c *format.Context) { c.Info.Flags = streaminfo.LocalReset },
		},
		{`{"response_flag_filter": {}}`, func(c *format.Context) { c.Info.Flags = streaminfo.LocalReset }, func(*format.Context) {}},
		{`{"header_filter": {"header": {"name": "X-A", "string_match": {"exact": "1"}}}}`, nil, func(c *format.Context) { c.Request.Headers.Reset() }},
		{
			`{"and_filter": {"filters": [{"not_health_check_filter": {}}, {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 200}}}}]}}`,
			nil, func(c *format.Context) { c.Info.ResponseCode = 201 },
		},
		{
			`{"or_filter": {"filters": [{"response_flag_filter": {}}, {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 200}}}}]}}`,
			nil, func(c *format.Context) { c.Info.ResponseCode = 201 },
		},
		{
			`{"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}`,
			func(c *format.Context) { c.Info.ResponseCode = 503 }, func(*format.Context) {},
		},
		{
			`{"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": {"string_match": {"exact": "x"}}}}}`,
			dynamic("x"), dynamic("y"),
		},
		{ // found or not, unlike the other matchers of metadata
			`{"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}, {"key": "c"}], "value": {"string_match": {"exact": "x"}}}}}`,
			dynamic("x"), func(c *format.Context) {
				c.Info.Dynamic = map[string]map[string]any{"f": {"a": map[string]any{"c": "y"}}}
			},
		},
		{
			`{"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": {"list_match": {"one_of": {"double_match": {"exact": 2}}}}}, "match_if_key_not_found": false}}`,
			dynamic([]any{1.0, 2.0}), func(*format.Context) {},
		},
		{ // invert is not read
			`{"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": {"null_match": {}}, "invert": true}, "match_if_key_not_found": false}}`,
			dynamic(nil), dynamic("x"),
		},
		{
			`{"or_filter": {"filters": [{"metadata_filter": {"match_if_key_not_found": false}}, {"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}], "value": {"present_match": true}}, "match_if_key_not_found": false}}]}}`,
			func(c *format.Context) { c.Info.Dynamic = map[string]map[string]any{"f": {"a": false}} }, func(c *format.Context) { c.Info.Dynamic = map[string]map[string]any{"g": {"a": false}} },
		},
		{`{"log_type_filter": {"types": ["DownstreamEnd"]}}`, nil, func(c *format.Context) { c.Type = format.DownstreamStart }},
	} {
		m := &accesslogv3.AccessLogFilter{}
		if err := protojson.Unmarshal([]byte(tc.filter), m); err != nil {
			t.Fatal(err)
		}
		v, err := accesslog.DecodeFilter(m)
		if err != nil {
			t.Errorf("%s: %v", tc.filter, err)
			continue
		}
		f := v.(accesslog.Filter)
		yes, no := entry(200), entry(200)
		if tc.yes != nil {
			tc.yes(yes)
		}
		tc.no(no)
		if !f.Match(yes) || f.Match(no) {
			t.Errorf("%s: %v, %v", tc.filter, f.Match(yes), f.Match(no))
		}
	}
}

// dynamic sets a value at a.b in the metadata of f.
func dynamic(v any) func(*format.Context) {
	return func(c *format.Context) {
		c.Info.Dynamic = map[string]map[string]any{"f": {"a": map[string]any{"b": v}}}
	}
}

func TestDecodeErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{"extension_filter": {"name": "k"}}`:                            "extension_filter: is not supported",
		`{"response_flag_filter": {"flags": ["XX"]}}`:                    `response_flag_filter: flags: "XX"`,
		`{"and_filter": {"filters": [{"not_health_check_filter": {}}]}}`: "and_filter: filters: needs two",
		`{}`: "filter_specifier: must be set",
		`{"metadata_filter": {"matcher": {"filter": "f", "path": [{"key": "a"}], "value": {"or_match": {"value_matchers": [{}]}}}}}`:               "metadata_filter: matcher.value: or_match.value_matchers[0].match_pattern: must be set",
		`{"or_filter": {"filters": [{"traceable_filter": {}}, {"header_filter": {"header": {"name": "a", "safe_regex_match": {"regex": "("}}}}]}}`: "safe_regex",
	} {
		m := &accesslogv3.AccessLogFilter{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		if _, err := accesslog.DecodeFilter(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"path": ""}`: "path: must not be empty",
		`{"path": "x", "log_format": {"text_format_source": {"inline_string": "%NONE%"}}}`: "operator NONE: not known",
		`{"path": "x", "log_format": {"json_format": {"a": {"b": "%NONE%"}}}}`:             `"a": "b": compile format`,
	} {
		m := &filev3.FileAccessLog{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		if _, err := accesslog.Factories()[0].Decode(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}

func TestFactoriesRegister(t *testing.T) {
	if _, err := extension.NewRegistry(accesslog.Factories()...); err != nil {
		t.Fatal(err)
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	f, err := format.Compile(format.Default)
	if err != nil {
		t.Fatal(err)
	}
	m := accesslog.NewManager(accesslog.Options{FlushInterval: time.Hour, Stdout: &bytes.Buffer{}})
	defer m.Close()
	logs, err := m.Build([]*model.AccessLog{{Config: &accesslog.File{Path: "/dev/stdout", Format: f}}})
	if err != nil {
		t.Fatal(err)
	}
	e := entry(200)
	for range 300 {
		logs.Log(e)
	}
	if n := testing.AllocsPerRun(200, func() { logs.Log(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFilterFromRuntime(t *testing.T) {
	format := decode(t, "envoy.access_loggers.stdout", accesslog.Factories()[1].Config, `{"log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% "}}}`)
	m := &accesslogv3.AccessLogFilter{}
	const either = `{"or_filter": {"filters": [
		{"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "log.from"}}}},
		{"and_filter": {"filters": [{"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 201, "runtime_key": "log.also"}}}}, {"not_health_check_filter": {}}]}}]}}`
	if err := protojson.Unmarshal([]byte(either), m); err != nil {
		t.Fatal(err)
	}
	filter, err := accesslog.DecodeFilter(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	runtime := model.NewRuntime(nil)
	manager := accesslog.NewManager(accesslog.Options{Stdout: &out, Runtime: runtime})
	logs, err := manager.Build([]*model.AccessLog{{Config: format, Filter: filter}})
	if err != nil {
		t.Fatal(err)
	}
	all := func() {
		for _, status := range []int{200, 201, 404, 503} {
			logs.Log(entry(status))
		}
	}
	all()
	runtime.Set(model.RuntimeOf(map[string]uint64{"log.from": 400, "log.also": 200}).All())
	all()
	if err := manager.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "201 503 200 404 503 "; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

func TestRuntimeFilter(t *testing.T) {
	format := decode(t, "envoy.access_loggers.stdout", accesslog.Factories()[1].Config, `{"log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% "}}}`)
	for name, tc := range map[string]struct {
		filter string
		id     string
		value  map[string]uint64
		want   string
	}{
		"by id, within":    {`{"runtime_key": "k", "percent_sampled": {"numerator": 11}}`, "0000000a-0000-4000-8000-000000000000", nil, "200 "},
		"by id, beyond":    {`{"runtime_key": "k", "percent_sampled": {"numerator": 10}}`, "0000000a-0000-4000-8000-000000000000", nil, ""},
		"by runtime":       {`{"runtime_key": "k", "percent_sampled": {"numerator": 0, "denominator": "MILLION"}}`, "0000000a-0000-4000-8000-000000000000", map[string]uint64{"k": 11}, "200 "},
		"of ten thousand":  {`{"runtime_key": "k", "percent_sampled": {"numerator": 10, "denominator": "TEN_THOUSAND"}}`, "0000000a-0000-4000-8000-000000000000", nil, ""},
		"independent, all": {`{"runtime_key": "k", "percent_sampled": {"numerator": 100}, "use_independent_randomness": true}`, "0000000a", nil, "200 "},
		"no id, none":      {`{"runtime_key": "k"}`, "", nil, ""},
		"odd id, all":      {`{"runtime_key": "k", "percent_sampled": {"numerator": 100}}`, "something else", nil, "200 "},
	} {
		t.Run(name, func(t *testing.T) {
			m := &accesslogv3.AccessLogFilter{}
			if err := protojson.Unmarshal([]byte(`{"runtime_filter": `+tc.filter+`}`), m); err != nil {
				t.Fatal(err)
			}
			filter, err := accesslog.DecodeFilter(m)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			manager := accesslog.NewManager(accesslog.Options{Stdout: &out, Runtime: model.RuntimeOf(tc.value)})
			logs, err := manager.Build([]*model.AccessLog{{Config: format, Filter: filter}})
			if err != nil {
				t.Fatal(err)
			}
			e := entry(200)
			if e.Request == nil {
				e.Request = &message.Request{}
			}
			e.Request.Headers.SetID(message.XRequestID, tc.id)
			logs.Log(e)
			if err := manager.Close(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tc.want {
				t.Errorf("logged %q, want %q", out.String(), tc.want)
			}
		})
	}
}
