package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// fileTimeout is for commands that read or flush a whole package.
const fileTimeout = 30 * time.Minute

// StatFormat is the format that Stat asks `stat -L -c` for: raw mode in hex,
// bytes, time of change, owner, group. None of it depends on the machine's language.
const StatFormat = "%f %s %Y %U %G"

// ProfileScript sources the profile $1 and runs the rest in its environment.
// The profile runs in a function, so that it may change its own arguments, and
// without the command's input and output, which it could spoil. Its status is
// not asked for: many end with a test that is false.
const ProfileScript = `profile() { . "$1" >/dev/null </dev/null; }
[ -r "$1" ] || { echo "cannot read the environment profile $1" >&2; exit 126; }
profile "$1"; shift; exec "$@"`

// Sourced is c in the environment that a profile sets: an absolute path, or
// one below the login's home.
func Sourced(profile string, c Cmd) Cmd {
	profile = strings.TrimPrefix(profile, "~/")
	if !strings.Contains(profile, "/") {
		profile = "./" + profile // a bare name would be looked for in PATH
	}
	c.Argv = slices.Concat([]string{"sh", "-c", ProfileScript, "sh", profile}, c.Argv)
	return c
}

// FileInfo is what Stat tells about a file.
type FileInfo struct {
	Mode    fs.FileMode // type and permissions
	Size    int64
	ModTime time.Time
	Owner   string
	Group   string
}

// Stat tells about a file, following symbolic links. A file that is not there
// is fs.ErrNotExist.
func Stat(ctx context.Context, h Host, name string) (FileInfo, error) {
	r, err := h.Run(ctx, Read("stat", "-L", "-c", StatFormat, operand(name)))
	if err != nil {
		return FileInfo{}, missing(ctx, h, name, err)
	}
	return parseStat(r.Text())
}

func parseStat(line string) (FileInfo, error) {
	f := strings.Fields(line)
	if len(f) != 5 {
		return FileInfo{}, say.Errorf("stat said %q, expected five words", "stat 的输出为 %q，应为五个词", line)
	}
	mode, err1 := strconv.ParseUint(f[0], 16, 32)
	size, err2 := strconv.ParseInt(f[1], 10, 64)
	unix, err3 := strconv.ParseInt(f[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return FileInfo{}, say.Errorf("stat said %q, expected mode, size and time", "stat 的输出为 %q，应为权限、大小和时间", line)
	}
	return FileInfo{Mode: fileMode(mode), Size: size, ModTime: time.Unix(unix, 0).UTC(), Owner: f[3], Group: f[4]}, nil
}

// fileMode turns st_mode (inode(7)) into Go's.
func fileMode(raw uint64) fs.FileMode {
	m := fs.FileMode(raw & 0o777)
	switch raw & 0o170000 {
	case 0o040000:
		m |= fs.ModeDir
	case 0o120000:
		m |= fs.ModeSymlink
	case 0o140000:
		m |= fs.ModeSocket
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		m |= fs.ModeDevice
	}
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if raw&bit != 0 {
			m |= flag
		}
	}
	return m
}

// Exists reports whether there is something under that name.
func Exists(ctx context.Context, h Host, name string) (bool, error) {
	_, err := h.Run(ctx, Read("test", "-e", operand(name)))
	if IsExit(err, 1) {
		return false, nil
	}
	return err == nil, err
}

// ReadFile reads a whole file. A file that is not there is fs.ErrNotExist.
func ReadFile(ctx context.Context, h Host, name string) ([]byte, error) {
	r, err := h.Run(ctx, Read("cat", operand(name)))
	if err != nil {
		return nil, missing(ctx, h, name, err)
	}
	return r.Stdout, nil
}

// missing makes fs.ErrNotExist of a failed command when the file is certainly
// not there: one below a directory that we may not enter only looks like it.
func missing(ctx context.Context, h Host, name string, err error) error {
	if !IsExit(err) {
		return err
	}
	for at := name; ; {
		there, aerr := Exists(ctx, h, at)
		if aerr != nil {
			return err
		}
		if there {
			if at == name {
				return err
			}
			if _, aerr = h.Run(ctx, Read("test", "-x", operand(at))); aerr != nil {
				return err
			}
			return fmt.Errorf("%s: %s: %w", h.Name(), name, fs.ErrNotExist)
		}
		up := path.Dir(at)
		if up == at {
			return err
		}
		at = up
	}
}

// WriteFile writes a whole file: a reader sees the old one or the new one, and
// the data is on disk before the new one has the name. The directory must exist.
func WriteFile(ctx context.Context, h Host, name string, data []byte, mode fs.FileMode) error {
	// A name that depends on the content: two writers never mix their data, and
	// a simulated run stays the same run each time.
	sum := sha256.Sum256(data)
	tmp := operand(name) + ".tmp-" + hex.EncodeToString(sum[:4])
	if err := writeAs(ctx, h, tmp, operand(name), data, mode); err != nil {
		return tidy(ctx, h, tmp, err)
	}
	return nil
}

func writeAs(ctx context.Context, h Host, tmp, name string, data []byte, mode fs.FileMode) error {
	perm := fmt.Sprintf("%04o", mode.Perm())
	steps := []Cmd{
		{Argv: []string{"dd", "of=" + tmp, "conv=fsync"}, Stdin: bytes.NewReader(data)},
		Change("chmod", perm, tmp),
		Change("mv", "-T", tmp, name),
	}
	if mode.Perm()&0o044 != 0o044 {
		// What not everyone may read must not be readable while it is written.
		steps = append([]Cmd{Change("dd", "if=/dev/null", "of="+tmp), Change("chmod", perm, tmp)}, steps[0], steps[2])
	}
	for _, c := range steps {
		if _, err := h.Run(ctx, c); err != nil {
			return say.Errorf("write %s: %w", "写入 %s：%w", name, err)
		}
	}
	return nil
}

// tidy removes what a failed write left, also when its context has ended, and
// returns the reason of the failure. What cannot be removed does no harm.
func tidy(ctx context.Context, h Host, tmp string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = h.Run(ctx, Change("rm", "-f", tmp))
	return err
}

// Sum is the sha256 of a file in hex. A file that is not there is fs.ErrNotExist.
func Sum(ctx context.Context, h Host, name string) (string, error) {
	c := Read("sha256sum", operand(name))
	c.Timeout = fileTimeout
	r, err := h.Run(ctx, c)
	if err != nil {
		return "", missing(ctx, h, name, err)
	}
	// sha256sum starts a line with a backslash when the name has odd characters.
	sum := strings.TrimPrefix(r.Text(), `\`)
	if len(sum) < sha256.Size*2 {
		return "", say.Errorf("%s: sha256sum said %q", "%s：sha256sum 的输出为 %q", h.Name(), r.Text())
	}
	return sum[:sha256.Size*2], nil
}

// operand keeps a name that starts with a dash from being an option.
func operand(name string) string {
	if strings.HasPrefix(name, "-") {
		return "./" + name
	}
	return name
}
