from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("basket", views.take_ticket, name="take_ticket"),
    path("signup", views.sign_up, name="sign_up"),
    path("logout", views.log_out, name="log_out"),
    path("admin/", admin.site.urls),
    # The admin's pages name no icon.
    path("favicon.ico", RedirectView.as_view(url="/static/icon.svg")),
]
