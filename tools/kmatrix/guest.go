package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guest is init of the emulated machine: it makes the least of a system, runs the suites and switches the machine off.
func guest() {
	if err := prepare(); err != nil {
		fmt.Println("prepare guest:", err)
	} else if err := runSuites(); err != nil {
		fmt.Println("run suites:", err)
	} else {
		fmt.Println(markDone)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("power off:", err)
	}
	select {} // init must not end
}

// mounts that programs expect. cgroup v2 is at the unified place; bpffs is left for weir to mount.
var mounts = []struct{ kind, at string }{
	{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"cgroup2", "/sys/fs/cgroup"},
}

func prepare() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", m.at, err)
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for name, text := range map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"/etc/group":  "root:x:0:\nnogroup:x:65534:\n", "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"/proc/self/fd": "/dev/fd", "/proc/self/fd/0": "/dev/stdin", "/proc/self/fd/1": "/dev/stdout", "/proc/self/fd/2": "/dev/stderr"} {
		if err := os.Symlink(from, to); err != nil {
			return fmt.Errorf("link %s: %w", to, err)
		}
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	return up("lo")
}

// loadModules loads what lies in /modules, in the order of the names.
func loadModules() error {
	files, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("load module: %w", err)
		}
		flags := 0
		if !strings.HasSuffix(file, ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		f.Close()
		if err != nil {
			return fmt.Errorf("load module %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

// up switches an interface on.
func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	return nil
}

func runSuites() error {
	data, err := os.ReadFile("/suites")
	if err != nil {
		return err
	}
	var todo []task
	if err := json.Unmarshal(data, &todo); err != nil {
		return fmt.Errorf("read list of suites: %w", err)
	}
	for _, t := range todo {
		t.execute()
	}
	return nil
}

// suiteLimit is how long one suite may take under emulation.
const suiteLimit = 20 * time.Minute

// execute runs one suite with its output on the console.
func (t task) execute() {
	fmt.Println(markBegin + t.Name)
	begin := time.Now()
	args := []string{"-test.v", "-test.timeout=" + suiteLimit.String()}
	if t.Run != "" {
		args = append(args, "-test.run="+t.Run)
	}
	if t.Skip != "" {
		args = append(args, "-test.skip="+t.Skip)
	}
	cmd := exec.Command(t.Binary, args...)
	cmd.Dir = filepath.Dir(t.Binary)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Env = []string{"PATH=/bin:/usr/bin", "HOME=/", "TMPDIR=/tmp", "WEIR_HARNESS_BIN=/weir", "WEIR_SLOW=1"}
	code := 0
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		code = 1
	}
	fmt.Printf("%s%s %d %.1fs\n", markEnd, t.Name, code, time.Since(begin).Seconds())
}
