package sim

import (
	"errors"
	"path"
	"strings"
	"syscall"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
)

// registerScripts teaches every machine the scripts that Shiplift itself sends.
func registerScripts(d *defs) {
	d.scripts[host.ProfileScript] = profileScript
	d.scripts[host.EndableScript] = func(c *Call) int { return c.Exec(c.Args()...) }
	d.scripts[host.EndScript] = ok // a simulated command ends with its link
	d.scripts[journal.LeaseScript] = func(c *Call) int {
		out, code := c.journal().Lease(c.Args())
		c.Print(out)
		return code
	}
	d.scripts[journal.FenceScript] = func(c *Call) int {
		argv, errs, code := c.journal().Fence(c.Args())
		c.Errorf("%s", errs)
		if code != 0 {
			return code
		}
		return c.Exec(argv...)
	}
}

// journal gives the scripts of package journal the caller's files.
func (c *Call) journal() journal.Sim {
	return journal.Sim{
		Get: func(name string) (string, bool, error) {
			b, err := c.ReadFile(name)
			if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) {
				return "", false, nil
			}
			return string(b), err == nil, err
		},
		Put: func(name, content string) error {
			if err := c.MkdirAll(path.Dir(name), 0o700); err != nil {
				return err
			}
			return c.WriteFile(name, []byte(content), 0o600)
		},
	}
}

// profileScript is host.ProfileScript: it sources $1 and runs the rest.
func profileScript(c *Call) int {
	args := c.Args()
	if len(args) < 2 {
		return 127
	}
	env, err := c.Profile(args[0])
	if err != nil {
		return c.Fail(126, "cannot read the environment profile %s", args[0])
	}
	return c.become(env, args[1:])
}

// Profile is the environment after sourcing a file of lines like
// `export A=B`, `A="$B/c"` and comments. Other lines are complained about.
func (c *Call) Profile(name string) (map[string]string, error) {
	body, err := c.Machine.fs.read(c.User, c.Abs(name))
	if err != nil {
		return nil, err
	}
	if c.login {
		if env := c.sourced(body); env != nil {
			return env, nil
		}
	}
	file := string(body.data)
	env, clean := c.WithEnv(nil), true
	for line := range strings.Lines(file) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "ulimit ") || strings.HasPrefix(line, "umask ") {
			continue
		}
		k, v, isSet := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !isSet || strings.ContainsAny(k, " \t$") {
			c.World.Complain("%s: %s: line %q is not simulated", c.Machine.name, name, line)
			clean = false
			continue
		}
		env[k] = expand(v, env)
	}
	if c.login && clean {
		e := c.World.defs.envs
		e.Lock()
		defer e.Unlock()
		e.profile[profiled{c.User, body.digest()}] = env
	}
	return env, nil
}

// sourced is the environment of the caller's login with a file sourced, if
// that was asked for before.
func (c *Call) sourced(file *Blob) map[string]string {
	e := c.World.defs.envs
	e.Lock()
	defer e.Unlock()
	return e.profile[profiled{c.User, file.digest()}]
}

// expand takes the quotes from a word and puts variables in.
func expand(v string, env map[string]string) string {
	if len(v) >= 2 && v[0] == '\'' && v[len(v)-1] == '\'' {
		return v[1 : len(v)-1]
	}
	v = strings.Trim(v, `"`)
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if v[i] != '$' {
			b.WriteByte(v[i])
			continue
		}
		rest := v[i+1:]
		if strings.HasPrefix(rest, "{") {
			if end := strings.IndexByte(rest, '}'); end > 0 {
				b.WriteString(env[rest[1:end]])
				i += end + 1
				continue
			}
		}
		n := 0
		for n < len(rest) && (rest[n] == '_' || rest[n] >= '0' && rest[n] <= '9' || rest[n] >= 'A' && rest[n] <= 'Z' || rest[n] >= 'a' && rest[n] <= 'z') {
			n++
		}
		b.WriteString(env[rest[:n]])
		i += n
	}
	return b.String()
}
