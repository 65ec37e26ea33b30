package admin

import "strings"

// endpoint is one path.
type endpoint struct {
	path, help string
	// mutates tells that it changes state, so that only POST will do.
	mutates bool
	// post tells that only POST will do although it changes nothing.
	post   bool
	params []param
	// serve answers. An error becomes a 500 unless the answer has begun.
	serve func(*Server, *reply, *request) error
}

// param is a parameter of an endpoint, for the help and the forms of the index page.
type param struct {
	name, help string
	kind       kind
	// choices of an enumeration; the first is the default.
	choices []string
}

// kind says how a parameter is entered.
type kind uint8

// Kinds of parameters. The value of a flag is that it is there.
const (
	textParam kind = iota
	flagParam
	enumParam
)

// endpoints is the whole table, in order of the paths.
func endpoints() []endpoint {
	return append(append(pages(), commands()...), statistics()...)
}

// pages show something.
func pages() []endpoint {
	format := param{"format", "File format to use", enumParam, []string{"text", "json"}}
	return []endpoint{
		{path: "/", help: "Admin home page", serve: (*Server).home},
		{path: "/certs", help: "print certs on machine", serve: (*Server).certs},
		{path: "/clusters", help: "upstream cluster status", serve: (*Server).clusters, params: []param{
			format, {name: "filter", help: "Regular expression (Google re2) for filtering cluster names"},
		}},
		{path: "/config_dump", help: "dump current configs (experimental)", serve: (*Server).configDump, params: []param{
			{name: "resource", help: "The resource to dump, such as static_clusters, dynamic_listeners or weir_findings"},
			{name: "mask", help: "The mask to apply, a FieldMask. With resource it applies to every element of that repeated field, else to each config"},
			{name: "name_regex", help: "Dump only the configurations whose whole names match this regular expression"},
			{name: "include_eds", help: "Include the endpoints", kind: flagParam},
		}},
		{path: "/contention", help: "dump mutex contention stats (if enabled)", serve: (*Server).contention},
		{path: "/heap_dump", help: "dump the heap as a pprof profile", serve: (*Server).heapDump},
		{path: "/help", help: "print out list of admin commands", serve: (*Server).showHelp},
		{path: "/hot_restart_version", help: "print the hot restart compatibility version", serve: (*Server).hotRestartVersion},
		{path: "/init_dump", help: "dump what initialization waits for (experimental)", serve: (*Server).initDump, params: []param{
			{name: "mask", help: "The component to dump unready targets of; /init_dump?mask=listener shows those of all listeners"},
		}},
		{path: "/listeners", help: "print listener info", serve: (*Server).listeners, params: []param{format}},
		{path: "/memory", help: "print current allocation/heap usage", serve: (*Server).memory},
		{path: "/ready", help: "print server state, return 200 if LIVE, otherwise return 503", serve: (*Server).ready},
		{path: "/runtime", help: "print runtime values", serve: (*Server).runtime},
		{path: "/stats/recentlookups", help: "Show recent stat-name lookups", serve: (*Server).recentLookups},
		{path: "/server_info", help: "print server version/status information", serve: (*Server).serverInfo},
		{path: clientStatusPath, help: "client status discovery (CSDS) of this process alone; the body is a ClientStatusRequest in JSON, or empty", post: true, serve: (*Server).clientStatus},
		{path: "/weir/connections", help: "print the connections and UDP sessions there are: process, destination, route, cluster, endpoint, bytes", serve: (*Server).connections, params: []param{
			{name: "limit", help: "At most so many, those with the most bytes (default: 1000)"},
			{"format", "File format to use", enumParam, []string{"json", "text"}},
		}},
		{path: "/weir/events", help: "print the kernel's decisions about connections and datagrams of captured processes, as it takes them: process, destination, verdict, reason", serve: (*Server).events, params: []param{
			{name: "direction", help: "Only these: outbound, inbound; this and the others may be repeated or have commas"},
			{name: "protocol", help: "Only these: tcp, udp"},
			{name: "verdict", help: "Only these: pass, redirect, refuse, offload"},
			{name: "reason", help: "Only those given for these reasons, such as captured or no_rule"},
			{name: "pid", help: "Only those of these processes; of what comes in, those that listen"},
			{name: "container", help: "Only those of these containers: names, the first digits of ids, or globs"},
			{name: "cgroup", help: "Only those of processes in these cgroups, or below"},
			{name: "dst", help: "Only those about these destinations: IP, IP/BITS, IP:PORT or :PORT"},
			{name: "sample", help: "The share that is printed, above 0 and at most 1 (default: 1)"},
			{name: "each_datagram", help: "Of datagrams every one, and not just the first of an exchange", kind: flagParam},
			{name: "limit", help: "End after so many (default: never)"},
			{name: "past", help: "Begin with those that were recorded, if the configuration says which", kind: flagParam},
			{name: "no_follow", help: "End after those that were recorded", kind: flagParam},
			{"format", "File format to use", enumParam, []string{"json", "text"}},
		}},
		{path: "/weir/explain", help: "tell what would become of a connection, without making it", serve: (*Server).explain, params: []param{
			{name: "dst", help: "The destination, IP:PORT"},
			{name: "host", help: "The host of the request"},
			{name: "path", help: "The path of the request"},
			{name: "method", help: "The method of the request"},
			{name: "header", help: "A header of the request, NAME:VALUE; may be repeated"},
			{name: "tls", help: "The client speaks TLS", kind: flagParam},
			{name: "sni", help: "The server name that it sends"},
			{name: "alpn", help: "The protocols that it offers, separated by commas"},
			{name: "src", help: "The source, IP or IP:PORT"},
			{name: "from", help: "The caller: host, pid:N, process:NAME, cgroup:PATH, container:ID, netns:NAME or an IP address"},
			{name: "udp", help: "A datagram of UDP, not a connection", kind: flagParam},
			{name: "cgroup", help: "The caller's cgroup"},
			{name: "pid", help: "The caller's process id, instead of its cgroup"},
			{name: "assume_captured", help: "Go on although the kernel does not give the connection to weir", kind: flagParam},
			format,
		}},
		{path: "/weir/findings", help: "print what of the configuration has no effect, or another than in Envoy", serve: (*Server).findings, params: []param{
			{"format", "File format to use", enumParam, []string{"json", "text"}},
		}},
		{path: "/weir/interception", help: "print what the kernel captures: programs, cgroups, rules, reasons and their counters", serve: (*Server).interception, params: []param{
			{"format", "File format to use", enumParam, []string{"json", "text"}},
		}},
	}
}

// commands change something.
func commands() []endpoint {
	enable := []param{{"enable", "Start (y) or stop (n)", enumParam, []string{"y", "n"}}}
	all := []endpoint{
		{path: "/cpuprofiler", help: "enable/disable the CPU profiler", params: enable, serve: (*Server).cpuProfiler},
		{path: "/allocprofiler", help: "enable/disable the allocation profiler", params: enable, serve: (*Server).allocProfiler},
		{path: "/stats/recentlookups/clear", help: "clear list of stat-name lookups and counter", serve: (*Server).recentLookupsClear},
		{path: "/stats/recentlookups/disable", help: "disable recording of stat-name lookups", serve: (*Server).recentLookupsDisable},
		{path: "/stats/recentlookups/enable", help: "enable recording of stat-name lookups", serve: (*Server).recentLookupsEnable},
		{path: "/drain_listeners", help: "drain listeners", serve: (*Server).drainListeners, params: []param{
			{name: "graceful", help: "Enter a graceful drain period before the listeners are closed", kind: flagParam},
			{name: "skip_exit", help: "Do not close the listeners after the drain period; only with graceful", kind: flagParam},
			{name: "inboundonly", help: "Drain only listeners whose traffic_direction is INBOUND", kind: flagParam},
		}},
		{path: "/healthcheck/fail", help: "cause the server to fail health checks", serve: (*Server).healthcheckFail},
		{path: "/healthcheck/ok", help: "cause the server to pass health checks", serve: (*Server).healthcheckOK},
		{path: "/heapprofiler", help: "enable/disable the heap profiler", params: enable, serve: (*Server).heapProfiler},
		{path: "/logging", help: "query/change logging levels", serve: (*Server).logging, params: []param{
			{name: "paths", help: "Change several levels: <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>"},
			{"level", "Change the level of all loggers", enumParam, append([]string{""}, levelNames()...)},
		}},
		{path: "/quitquitquit", help: "exit the server", serve: (*Server).quit},
		{path: "/reopen_logs", help: "reopen access logs", serve: (*Server).reopenLogs},
		{path: "/reset_counters", help: "reset all counters to zero", serve: (*Server).resetCounters},
		{path: "/runtime_modify", help: "Adds or modifies runtime values as passed in query parameters. An empty value deletes a key that was added here. E.g. ?key1=value1&key2=value2...", serve: (*Server).runtimeModify},
	}
	for i := range all {
		all[i].mutates = true
	}
	return all
}

func statistics() []endpoint {
	usedOnly := param{"usedonly", "Only include stats that have been written by system since restart", flagParam, nil}
	filter := param{name: "filter", help: "Regular expression (Google re2) for filtering stats"}
	texts := param{"text_readouts", "Render text readouts as gauges with the value 0 (Prometheus)", flagParam, nil}
	return []endpoint{
		{path: "/stats", help: "print server stats", serve: (*Server).stats, params: []param{
			usedOnly, filter,
			{"format", "Format to use", enumParam, []string{"text", "json", "prometheus", "html", "active-html"}},
			{"type", "Stat types to include", enumParam, []string{"All", "Counters", "Histograms", "Gauges", "TextReadouts"}},
			{"histogram_buckets", "Histogram bucket display mode", enumParam, []string{"none", "cumulative", "disjoint", "detailed", "summary"}},
			{"hidden", "What to do with hidden stats", enumParam, []string{"exclude", "include", "showonly"}},
			{"pretty", "Indent JSON", flagParam, nil},
			texts,
		}},
		{path: "/stats/prometheus", help: "print server stats in prometheus format", serve: (*Server).prometheus, params: []param{
			usedOnly, texts, filter,
			{"histogram_buckets", "Histogram bucket display mode", enumParam, []string{"cumulative", "summary"}},
		}},
	}
}

// helpText is the answer of /help.
func helpText(all []endpoint) string {
	var b strings.Builder
	b.WriteString("admin commands are:\n")
	for _, e := range sorted(all) {
		b.WriteString("  " + e.path)
		if e.mutates || e.post {
			b.WriteString(" (POST)")
		}
		b.WriteString(": " + e.help + "\n")
		for _, p := range e.params {
			b.WriteString("      " + p.name + ": " + p.help)
			if p.kind == enumParam {
				b.WriteString("; One of (" + strings.Join(p.choices, ", ") + ")")
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
