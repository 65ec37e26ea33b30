package options

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Parse reads a command line (without the program's name). Values follow their flag as the next argument or after "=".
// Everything after "--" is ignored, as Envoy does. The error names every bad argument.
func Parse(args []string) (*Options, error) {
	o := defaults()
	byName := map[string]*flag{}
	all := flags()
	for i := range all {
		byName["--"+all[i].name] = &all[i]
		if all[i].short != "" {
			byName["-"+all[i].short] = &all[i]
		}
	}
	var errs []error
	for len(args) > 0 && args[0] != "--" {
		name, value, inline := strings.Cut(args[0], "=")
		args = args[1:]
		f := byName[name]
		if f == nil {
			errs = append(errs, fmt.Errorf("unknown argument %q%s", name, nearest(name, all)))
			continue
		}
		switch {
		case f.value == "" && inline:
			errs = append(errs, fmt.Errorf("%s takes no value", name))
			continue
		case f.value != "" && !inline:
			if len(args) == 0 {
				errs = append(errs, fmt.Errorf("%s wants a value: %s", name, f.value))
				continue
			}
			value, args = args[0], args[1:]
		}
		if err := f.set(o, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if f.without != "" {
			o.WithoutMeaning = append(o.WithoutMeaning, fmt.Sprintf("--%s: %s", f.name, f.without))
		}
	}
	errs = append(errs, o.check()...)
	return o, errors.Join(errs...)
}

// check looks at the flags together.
func (o *Options) check() []error {
	var errs []error
	if o.FineGrainLogging && o.ComponentLogText != "" {
		errs = append(errs, errors.New("--component-log-level cannot be used with --enable-fine-grain-logging"))
	}
	if !o.Version && !o.Help && !o.HotRestartVersion && o.ConfigPath == "" && o.ConfigYAML == "" {
		errs = append(errs, errors.New("at least one of --config-path (-c) and --config-yaml is needed"))
	}
	if o.RejectUnknownDynamic && o.IgnoreUnknownDynamic {
		errs = append(errs, errors.New("--reject-unknown-dynamic-fields and --ignore-unknown-dynamic-fields exclude each other"))
	}
	return errs
}

// nearest suggests the flag that shares the longest beginning with what was typed.
func nearest(name string, all []flag) string {
	best, length := "", 4
	for _, f := range all {
		n := 0
		for full := "--" + f.name; n < len(full) && n < len(name) && full[n] == name[n]; {
			n++
		}
		if n > length {
			best, length = "; did you mean --"+f.name+"?", n
		}
	}
	return best
}

// Usage writes the help text.
func Usage(w io.Writer) {
	fmt.Fprint(w, "weir is a transparent proxy, configured as Envoy 1.32 is.\n\nusage: weir -c FILE [FLAGS] [-- IGNORED ...]\n\n")
	var without []string
	for _, f := range flags() {
		if f.without != "" {
			without = append(without, "--"+f.name)
			continue
		}
		name := "    --" + f.name
		if f.short != "" {
			name = "-" + f.short + ", --" + f.name
		}
		if f.value != "" {
			name += " " + f.value
		}
		fmt.Fprintf(w, "  %-44s %s\n", name, f.help)
	}
	fmt.Fprintf(w, "\nAccepted without effect (a line at start says why): %s\n", strings.Join(without, ", "))
}
