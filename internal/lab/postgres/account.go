package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/shiplift/shiplift/internal/say"
)

// account is the ordinary user that the servers run as. PostgreSQL's own
// programs refuse to run as root, so root gives way to another account.
type account struct {
	Name string `json:"name"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Drop bool   `json:"drop"` // we are root and become this account for each command
}

// ordinaryUsers are the accounts that root gives way to, the best first.
var ordinaryUsers = []string{"postgres", "nobody"}

// pickAccount returns the caller's account, or an ordinary one when the caller is root.
func pickAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		name := strconv.Itoa(uid)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		return account{Name: name, UID: uid, GID: os.Getegid()}, nil
	}
	for _, name := range ordinaryUsers {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("account %s: %w", name, err)
		}
		if uid != 0 {
			return account{Name: name, UID: uid, GID: gid, Drop: true}, nil
		}
	}
	return account{}, &say.Problem{
		Text: say.F("PostgreSQL does not run as root, and neither of the accounts postgres and nobody exists", "PostgreSQL 不能以 root 运行，且 postgres 和 nobody 账户都不存在"),
		Next: say.F("run the command as an ordinary user", "请以普通用户执行该命令"),
	}
}

// command is a command that runs as the account, in a directory and with an
// environment that owe nothing to the caller's.
func (a account) command(dir string, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // pg_ctl ends by its own timeout; a server half started is worse
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=UTC", "PGTZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C at the caller's terminal must not reach a server
	if a.Drop {
		cmd.SysProcAttr.Credential = a.credential()
	}
	return cmd
}

func (a account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
}

// take gives a file to the account.
func (a account) take(path string) error {
	if !a.Drop {
		return nil
	}
	return os.Lchown(path, a.UID, a.GID)
}

func (a account) mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(os.Chmod(path, mode), a.take(path))
}

func (a account) create(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close(), a.take(path))
}

func (a account) write(path, body string, mode os.FileMode) error {
	return a.create(path, bytes.NewReader([]byte(body)), mode)
}

// copyTree copies a directory with its modes; skip leaves out a relative path.
func (a account) copyTree(src, dst string, skip func(rel string) bool) error {
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		if skip(rel) {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return a.mkdir(to, fi.Mode().Perm())
		case fi.Mode().IsRegular():
			return errors.Join(copyFile(p, to, fi.Mode().Perm()), a.take(to))
		default:
			return fmt.Errorf("%s: neither a file nor a directory", p)
		}
	})
}

// checkReach makes sure that the account can come to dir, which it cannot
// when a directory above is closed to others.
func (a account) checkReach(dir string) error {
	if !a.Drop {
		return nil
	}
	for _, d := range ancestors(dir) {
		fi, err := os.Stat(d)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // made by us, open
		}
		if err != nil {
			return err
		}
		if !a.mayEnter(fi) {
			return &say.Problem{
				Place: d,
				Text:  say.F("the servers run as %s, and %s cannot enter this directory", "数据库以 %s 运行，而 %s 无法进入该目录", a.Name, a.Name),
				Next:  say.F("name a directory that others can reach, e.g. --dir /var/tmp/lab, or run as an ordinary user", "请指定其他用户可进入的目录，例如 --dir /var/tmp/lab，或以普通用户执行"),
			}
		}
	}
	return nil
}

func (a account) mayEnter(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mode := fi.Mode().Perm()
	switch {
	case int(st.Uid) == a.UID:
		return mode&0o100 != 0
	case int(st.Gid) == a.GID:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// ancestors returns dir and the directories above it, outermost first.
func ancestors(dir string) []string {
	var out []string
	for d := dir; ; d = filepath.Dir(d) {
		out = append([]string{d}, out...)
		if d == filepath.Dir(d) {
			return out
		}
	}
}
