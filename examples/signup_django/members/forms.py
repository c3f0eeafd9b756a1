from __future__ import annotations

from typing import Any, Self

from django import forms
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password

from glimr_session.django import SessionStore


class SignUp(forms.Form):
    name = forms.CharField(
        max_length=150,
        error_messages={"required": "Tell us what to call you."},
        widget=forms.TextInput({"autocomplete": "name"}),
    )
    email = forms.EmailField(
        label="E-mail",
        max_length=150,  # it is the user's name, too
        error_messages={
            "required": "Write an e-mail address, as in ada@example.org.",
            "invalid": "Write an e-mail address, as in ada@example.org.",
        },
        widget=forms.EmailInput({"autocomplete": "email"}),
    )
    password = forms.CharField(
        help_text="At least 12 characters.",
        strip=False,
        validators=[validate_password],
        error_messages={"required": "Use at least 12 characters."},
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )

    @classmethod
    def again(cls, session: SessionStore) -> Self:
        """Return the form as it was sent by the request before, with its errors."""
        form = cls(initial={"name": session.old("name"), "email": session.old("email")})
        errors: Any = form.errors  # none so far
        for field in form:
            if session.has_error(field.name):
                field.field.widget.attrs["autofocus"] = not errors
                errors[field.name] = form.error_class([session.error(field.name)])
        return form

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(username=email).exists():
            raise forms.ValidationError("Somebody has signed up with this address already.")
        return email

    def save(self) -> User:
        typed = self.cleaned_data
        return User.objects.create_user(
            typed["email"], typed["email"], typed["password"], first_name=typed["name"]
        )
