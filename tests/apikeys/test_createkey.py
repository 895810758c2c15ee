from __future__ import annotations

from io import StringIO

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command

from apikeys.auth import authenticate
from apikeys.models import ApiKey
from console.models import User
from tests.environment import make_data_dir
from tests.server import Server

pytestmark = pytest.mark.django_db


def createkey(*arguments: str) -> tuple[str, str]:
    """Standard output and error of the command."""
    stdout, stderr = StringIO(), StringIO()
    call_command("createkey", *arguments, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def test_the_key_is_all_that_stdout_has_and_it_opens(user: User) -> None:
    stdout, stderr = createkey("--email", user.email, "--name", "ci")
    [plaintext] = stdout.splitlines()
    caller = async_to_sync(authenticate)(f"Bearer {plaintext}")
    assert caller.user_id == user.pk
    assert ApiKey.objects.get().name == "ci"
    assert "shown only now" in stderr


def test_capitals_in_the_address_do_not_matter(user: User) -> None:
    createkey("--email", user.email.upper(), "--name", "ci", "--create-user")
    assert ApiKey.objects.get().owner == user


def test_nobody_of_that_address_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(CommandError) as error:
        createkey("--email", "nobody@example.com", "--name", "ci")
    assert str(error.value).count("\n") == 0
    assert "nobody@example.com" in str(error.value)
    assert "--create-user" in str(error.value)


def test_an_account_is_made_on_request_without_a_password() -> None:
    createkey("--email", "new@example.com", "--name", "ci", "--create-user")
    user = User.objects.get(email="new@example.com")
    assert not user.has_usable_password()
    assert ApiKey.objects.get().owner == user


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_that_does_not_fit_is_refused(user: User, name: str) -> None:
    with pytest.raises(CommandError, match="name"):
        createkey("--email", user.email, "--name", name)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="not an email address"):
        createkey("--email", "new.example.com", "--name", "ci", "--create-user")


def test_it_works_before_anything_was_served() -> None:
    assert Server(DATA_DIR=str(make_data_dir())).create_key("first@example.com").startswith("oag-")
